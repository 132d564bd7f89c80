// node words.mjs VM PLACE,PLACE... PRELUDE MODULE...
//
// Prints how many bytes of heap the MODULEs take, once their garbage is collected, in the VM whose micropython.mjs is VM.

import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [vm, places, prelude, ...modules] = process.argv.slice(2);
const folders = places.split(",").map((place) => path.resolve(place));
const { loadMicroPython } = await import(pathToFileURL(path.resolve(vm)));
const mp = await loadMicroPython({ heapsize: 2 << 20, linebuffer: false });

function copy(folder) {
  mp.FS.mkdirTree(folder);
  for (const entry of fs.readdirSync(folder, { withFileTypes: true })) {
    const name = path.join(folder, entry.name);
    if (entry.isDirectory()) copy(name);
    else if (name.endsWith(".mpy")) mp.FS.writeFile(name, fs.readFileSync(name));
  }
}

// Garbage is collected when a run has ended, not by what runs.
function allocated() {
  mp.runPython("gc.collect()");
  mp.runPython("_bytes = gc.mem_alloc()");
  return mp.globals.get("_bytes");
}

folders.forEach(copy);
mp.runPython(`import sys\nsys.path[:] = ${JSON.stringify([...folders, ".frozen"])}\n${prelude}`);
allocated();
const before = allocated();
for (const module of modules) mp.runPython(`__import__("${module}")`);
console.log(allocated() - before);
