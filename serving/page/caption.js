// The caption page: a picture and controls in, captions streamed side by side out. Talks to this server alone.
"use strict";

const find = (id) => document.getElementById(id);
const form = find("controls"), file = find("file"), search = find("search"), columns = find("captions");
const status = find("status"), problem = find("problem"), drop = find("drop"), stop = find("stop");
const MOST_COLUMNS = 4; // of the places the server has, some are left to others

const choose = find("choose"), image = find("picture"), frame = find("frame");
const edges = ["left", "top", "right", "bottom"].map(find); // of a box: shares of the picture's width and height
const LEAST_DRAG = 4; // pixels; what is shorter is a click

let picture = null; // the File or Blob captioned
let asked = null; // ends the requests under way
let from = null; // where a drag over the picture began, as shares of it
let dragged = false; // the click that ends a drag chooses no picture

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function sentence(words) {
  const line = String(words || "Something went wrong");
  return line[0].toUpperCase() + line.slice(1) + (line.endsWith(".") ? "" : ".");
}

function fail(words) {
  problem.textContent = words;
  problem.hidden = false;
  status.textContent = "";
}

// ---- asking ---------------------------------------------------------------------------------

function guidances() {
  const numbers = find("guidance").value.split(/[,;\s]+/).filter(Boolean).map(Number);
  if (!numbers.length || numbers.some((one) => !(one >= 0 && one <= 20))) throw new Error("Guidance is numbers from 0 to 20, separated by commas.");
  return [...new Set(numbers)].slice(0, MOST_COLUMNS);
}

// The four numbers of the box; none where nothing is filled in, or the captioner knows no boxes.
function box() {
  const said = edges.map((edge) => edge.value.trim());
  if (find("box").hidden || said.every((one) => !one)) return [];
  if (said.some((one) => !one)) throw new Error("A part of the picture has four numbers: left, top, right and bottom.");
  return said;
}

// What is filled in and stands to be seen; the rest is the server's default.
function wish(guidance) {
  const body = new FormData();
  body.append("image", picture);
  body.append("guidance", guidance);
  for (const edge of box()) body.append("box", edge);
  for (const field of form.elements) {
    if (!field.name || field.closest("label").hidden || field.value.trim() === "") continue;
    const values = field.name === "forbidden" ? field.value.split(",").map((one) => one.trim()).filter(Boolean) : [field.value.trim()];
    for (const value of values) body.append(field.name, value);
  }
  return body;
}

async function ask() {
  problem.hidden = true;
  if (!picture) return fail("Choose a picture first.");
  let numbers, bodies;
  try {
    numbers = guidances();
    bodies = numbers.map(wish);
  } catch (error) { return fail(error.message); }
  asked?.abort();
  const mine = asked = new AbortController();
  busy(true);
  const shown = numbers.map(column);
  columns.replaceChildren(...shown.map((one) => one.section));
  const ends = await Promise.allSettled(bodies.map((body, at) => follow(body, shown[at], mine.signal)));
  if (asked !== mine) return;
  busy(false);
  const whole = ends.filter((end) => end.status === "fulfilled").length;
  status.textContent = mine.signal.aborted ? "Stopped." : `${whole} of ${numbers.length} captioned. ${shown.map((one) => one.words()).join(" ")}`;
}

function busy(yes) {
  columns.setAttribute("aria-busy", yes);
  stop.hidden = !yes;
  if (yes) status.textContent = "Captioning…";
}

async function follow(body, shown, signal) {
  try {
    const response = await fetch("/caption", { method: "POST", body, signal }).catch((error) => {
      throw signal.aborted ? error : new Error("The server does not answer.");
    });
    if (!response.ok) throw new Error(sentence((await response.json().catch(() => ({}))).error));
    for await (const [name, data] of events(response.body)) {
      if (name === "token") shown.grow(data.caption, data.text);
      if (name === "caption") shown.end(data.caption, data.text, data.note);
      if (name === "done") shown.done(data.milliseconds);
      if (name === "error") throw new Error(sentence(data.error));
    }
  } catch (error) {
    shown.fail(signal.aborted ? "Stopped." : error.message);
    throw error;
  }
}

// Server-sent events of a POST, which EventSource cannot send: [name, data] of each.
async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  for (let held = ""; ;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (held + value).split("\n\n");
    held = parts.pop();
    for (const part of parts) {
      const [name, data] = part.split("\n");
      yield [name.slice("event: ".length), JSON.parse(data.slice("data: ".length))];
    }
  }
}

// ---- showing --------------------------------------------------------------------------------

function column(guidance) {
  const list = make("ol"), foot = make("small");
  const name = `Guidance ${guidance}`;
  const section = make("section", { ariaLabel: name }, make("h2", { textContent: name }), list, foot);
  const lines = [];
  const line = (at) => {
    while (lines.length <= at) { lines.push(make("li", { className: "coming", dir: "auto" })); list.append(lines.at(-1)); }
    return lines[at];
  };
  return {
    section,
    words: () => (foot.className ? "" : `${name}: ${lines.map((one) => one.textContent).join("; ")}.`),
    grow: (at, text) => { line(at).textContent = text; },
    end: (at, text, note) => {
      line(at).classList.remove("coming");
      line(at).replaceChildren(text || "(nothing)", ...(note ? [make("small", { textContent: note.replaceAll("_", " ") })] : []));
    },
    done: (milliseconds) => { foot.textContent = `${Math.round(milliseconds)} ms`; },
    fail: (words) => {
      for (const one of lines) one.classList.remove("coming");
      foot.className = "wrong";
      foot.textContent = words;
    },
  };
}

function show(blob) {
  if (picture) mark(); // a box of another picture is none of this one
  if (image.src) URL.revokeObjectURL(image.src);
  picture = blob;
  image.src = URL.createObjectURL(blob);
  image.hidden = false;
  find("ask").hidden = true;
  choose.ariaLabel = "Choose another picture";
  ask();
}

function offer() {
  for (const label of document.querySelectorAll("[data-of]")) label.hidden = !label.dataset.of.split(" ").includes(search.value);
}

// ---- the box --------------------------------------------------------------------------------

// Where the picture itself lies in the window, in pixels: it is shown whole, with room beside it.
function place() {
  const room = image.getBoundingClientRect();
  const scale = Math.min(room.width / image.naturalWidth, room.height / image.naturalHeight);
  const width = scale * image.naturalWidth, height = scale * image.naturalHeight;
  return { left: room.left + (room.width - width) / 2, top: room.top + (room.height - height) / 2, width, height };
}

// Fill in a box, or none, and draw it.
function mark(sides = []) {
  edges.forEach((edge, at) => { edge.value = sides[at] ?? ""; });
  drawBox();
}

function drawBox() {
  const [x0, y0, x1, y1] = edges.map((edge) => edge.valueAsNumber); // NaN of an empty one
  frame.hidden = find("box").hidden || !image.naturalWidth || !(0 <= x0 && x0 < x1 && x1 <= 1 && 0 <= y0 && y0 < y1 && y1 <= 1);
  if (frame.hidden) return;
  const at = place(), around = choose.getBoundingClientRect();
  frame.style.left = `${at.left - around.left - choose.clientLeft + x0 * at.width}px`;
  frame.style.top = `${at.top - around.top - choose.clientTop + y0 * at.height}px`;
  frame.style.width = `${(x1 - x0) * at.width}px`;
  frame.style.height = `${(y1 - y0) * at.height}px`;
}

// Where the pointer is, as shares of the picture to a thousandth; beyond it counts as its edge.
function under(event) {
  const at = place();
  const shares = [(event.clientX - at.left) / at.width, (event.clientY - at.top) / at.height];
  return shares.map((one) => Math.round(1000 * Math.min(1, Math.max(0, one))) / 1000);
}

choose.addEventListener("pointerdown", (event) => {
  dragged = false;
  from = event.button === 0 && !find("box").hidden && image.naturalWidth ? { at: under(event), x: event.clientX, y: event.clientY } : null;
  if (from) choose.setPointerCapture(event.pointerId);
});
choose.addEventListener("pointermove", (event) => {
  if (!from) return;
  dragged ||= Math.hypot(event.clientX - from.x, event.clientY - from.y) >= LEAST_DRAG;
  if (!dragged) return;
  const [x, y] = under(event), [left, top] = from.at;
  mark([Math.min(left, x), Math.min(top, y), Math.max(left, x), Math.max(top, y)]);
});
choose.addEventListener("pointerup", () => {
  if (from && dragged && frame.hidden) mark(); // a line is no part
  else if (from && dragged) ask();
  from = null;
});
choose.addEventListener("pointercancel", () => { from = null; });
for (const edge of edges) edge.addEventListener("input", drawBox);
find("whole").addEventListener("click", () => { mark(); edges[0].focus(); });
image.addEventListener("load", drawBox);
new ResizeObserver(drawBox).observe(choose);

// ---- what is served -------------------------------------------------------------------------

// The controls that this captioner was taught, as far as it knows them.
async function showServed() {
  const { bento, captioner } = await (await fetch("/lineage")).json();
  if (!captioner) {
    form.hidden = true;
    return fail("This server holds no captioner; start one with pairwright serve --captioner FOLDER.");
  }
  const { controls, tower, digest } = captioner;
  for (const label of document.querySelectorAll("[data-knows]")) {
    const known = controls[label.dataset.knows];
    label.hidden = Array.isArray(known) ? known.length === 0 : !known;
    const field = label.querySelector("input[type=number]");
    if (field && typeof known === "number") field.max = known;
  }
  for (const [name, known] of [["language", controls.languages], ["format", controls.formats]]) {
    document.querySelector(`[name=${name}]`).append(...known.map((one) => make("option", { value: one, textContent: one })));
  }
  choose.classList.toggle("boxes", controls.box);
  drawBox();
  find("served").textContent = `${bento} · captioner ${digest.slice(0, 12)} · tower ${tower.reference} ${tower.digest.slice(0, 12)} · at most ${controls.tokens} tokens`;
}

form.addEventListener("submit", (event) => { event.preventDefault(); ask(); });
search.addEventListener("change", offer);
stop.addEventListener("click", () => { asked?.abort(); find("search").focus(); });
choose.addEventListener("click", (event) => { if (!dragged || !event.detail) file.click(); }); // the keyboard's has no detail
file.addEventListener("change", () => { if (file.files[0]) show(file.files[0]); file.value = ""; });
addEventListener("paste", (event) => {
  const pasted = [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
  if (pasted) { event.preventDefault(); show(pasted); }
});

let inside = 0; // dragenter and dragleave fire for every element crossed
addEventListener("dragenter", (event) => { if (event.dataTransfer.types.includes("Files")) { inside++; drop.hidden = false; } });
addEventListener("dragleave", () => { inside = Math.max(0, inside - 1); drop.hidden = inside === 0; });
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  inside = 0;
  drop.hidden = true;
  if (event.dataTransfer.files[0]) show(event.dataTransfer.files[0]);
});

offer();
showServed().catch(() => fail("The server does not say what it serves."));
