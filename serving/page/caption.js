// The caption page: a picture and controls in, captions streamed side by side out. Talks to this server alone.
"use strict";

const find = (id) => document.getElementById(id);
const form = find("controls"), file = find("file"), search = find("search"), columns = find("captions");
const status = find("status"), problem = find("problem"), drop = find("drop"), stop = find("stop");
const MOST_COLUMNS = 4; // of the places the server has, some are left to others

let picture = null; // the File or Blob captioned
let asked = null; // ends the requests under way

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

// What is filled in and stands to be seen; the rest is the server's default.
function wish(guidance) {
  const body = new FormData();
  body.append("image", picture);
  body.append("guidance", guidance);
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
  let numbers;
  try { numbers = guidances(); } catch (error) { return fail(error.message); }
  asked?.abort();
  const mine = asked = new AbortController();
  busy(true);
  const shown = numbers.map(column);
  columns.replaceChildren(...shown.map((one) => one.section));
  const ends = await Promise.allSettled(numbers.map((guidance, at) => follow(wish(guidance), shown[at], mine.signal)));
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
  const image = find("picture");
  if (image.src) URL.revokeObjectURL(image.src);
  picture = blob;
  image.src = URL.createObjectURL(blob);
  image.hidden = false;
  find("ask").hidden = true;
  find("choose").ariaLabel = "Choose another picture";
  ask();
}

function offer() {
  for (const label of document.querySelectorAll("[data-of]")) label.hidden = !label.dataset.of.split(" ").includes(search.value);
}

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
    if (field && known) field.max = known;
  }
  document.querySelector("[name=language]").append(...controls.languages.map((one) => make("option", { value: one, textContent: one })));
  find("served").textContent = `${bento} · captioner ${digest.slice(0, 12)} · tower ${tower.reference} ${tower.digest.slice(0, 12)} · at most ${controls.tokens} tokens`;
}

form.addEventListener("submit", (event) => { event.preventDefault(); ask(); });
search.addEventListener("change", offer);
stop.addEventListener("click", () => { asked?.abort(); find("search").focus(); });
find("choose").addEventListener("click", () => file.click());
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
