"""The one way from the VM into the process around it (host_sim/zygote.py)."""

import gc

import uctypes
import uos
import ustruct

_WORD = 8
_function = None


def wait(address):
    """Calls the C function at `address`, without arguments, as if it were one of the VM's own.

    Such an object is two words, its type and the function's address (py/obj.h, mp_obj_fun_builtin_fixed_t): the type is
    taken from one that there is.
    """
    global _function  # held, lest it be collected
    like = ustruct.unpack("P", ustruct.pack("O", gc.enable))[0]
    _function = bytearray(uctypes.bytearray_at(like, 2 * _WORD))
    ustruct.pack_into("P", _function, _WORD, address)
    ustruct.unpack("O", ustruct.pack("P", uctypes.addressof(_function)))[0]()


def argv():
    """What this boot was asked for with."""
    return uos.getenv("FIELDNODE_ARGV").split("\n")
