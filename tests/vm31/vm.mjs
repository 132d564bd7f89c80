// node vm.mjs VM HEAP RUNNER FOLDER... -- MODULE FUNCTION...
//
// Runs RUNNER, a MicroPython file, in the VM whose micropython.mjs is VM, with HEAP bytes of heap to begin with.
// sys.path is the FOLDERs; what the VM sees as files is a copy of all .py and .json below them and below
// tests/vectors, at the same paths. Paths are relative to the working directory, which is the VM's, too.

import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [vm, heap, runner, ...rest] = process.argv.slice(2);
const split = rest.indexOf("--");
const folders = rest.slice(0, split);
const argv = [runner, ...rest.slice(split + 1)];
const { loadMicroPython } = await import(pathToFileURL(path.resolve(vm)));

// Written as it comes: if the VM dies, what it said last is not lost with it.
const stdout = (bytes) => fs.writeSync(1, bytes);
const mp = await loadMicroPython({ heapsize: Number(heap), stdout, linebuffer: false });

function copy(folder) {
  mp.FS.mkdirTree(path.resolve(folder));
  for (const entry of fs.readdirSync(folder, { withFileTypes: true })) {
    const name = path.join(folder, entry.name);
    if (entry.isDirectory()) {
      if (!entry.name.startsWith("__") && entry.name !== "node_modules") copy(name);
    } else if (/\.(py|json)$/.test(entry.name)) {
      mp.FS.writeFile(path.resolve(name), fs.readFileSync(name));
    }
  }
}

for (const folder of [...folders, "tests/vectors"]) copy(folder);
mp.FS.chdir(process.cwd());
const places = JSON.stringify([...folders.map((folder) => path.resolve(folder)), ".frozen"]);
mp.runPython(`import sys\nsys.path[:] = ${places}\nsys.argv[:] = ${JSON.stringify(argv)}\n`);
try {
  mp.runPython(fs.readFileSync(runner, "utf8"));
} catch (error) {
  // Not left to node.js, which would print the line it was thrown from: the whole of the VM.
  fs.writeSync(2, `${error.message}\n`);
  process.exitCode = 1;
}
