// The search page: words or a picture in, pictures out. Talks to this server alone.
"use strict";

const find = (id) => document.getElementById(id);
const form = find("search"), text = find("text"), file = find("file"), results = find("results");
const exact = find("exact"), count = find("k"), status = find("status"), problem = find("problem");
const detail = find("detail"), drop = find("drop");

let picture = null; // the File or Blob searched by, or null
let latest = 0; // number of the newest request: a slower, older answer is thrown away
let served = null; // what /lineage said

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// ---- asking ---------------------------------------------------------------------------------

async function ask() {
  const words = text.value.trim();
  if (!picture && !words) return showWall();
  const mine = ++latest;
  busy(true);
  try {
    const answer = await request(words);
    if (mine === latest) showFound(answer);
  } catch (error) {
    if (mine === latest) fail(error.message);
  } finally {
    if (mine === latest) busy(false);
  }
}

async function request(words) {
  let body, headers = {};
  if (picture) {
    body = new FormData();
    body.append("image", picture);
    body.append("k", count.value);
    body.append("exact", exact.checked);
  } else {
    headers["Content-Type"] = "application/json";
    body = JSON.stringify({ text: words, k: Number(count.value), exact: exact.checked });
  }
  const response = await fetch("/search", { method: "POST", headers, body }).catch(() => {
    throw new Error("The server does not answer.");
  });
  const answer = await response.json().catch(() => ({ error: `The server answered ${response.status}.` }));
  if (!response.ok) throw new Error(sentence(answer.error));
  return answer;
}

const percent = (share) => `${(100 * share).toFixed(1)}%`;

function sentence(words) {
  const line = String(words || "Something went wrong");
  return line[0].toUpperCase() + line.slice(1) + (line.endsWith(".") ? "" : ".");
}

function busy(yes) {
  results.classList.toggle("busy", yes);
  results.setAttribute("aria-busy", yes);
  if (yes) status.textContent = "Searching…";
}

function fail(words) {
  status.textContent = "";
  problem.textContent = words;
  problem.hidden = false;
  results.replaceChildren();
}

// ---- showing --------------------------------------------------------------------------------

function showFound(answer) {
  problem.hidden = true;
  const how = answer.exact ? "every picture compared" : `approximate, recall@10 ${percent(answer.recall_at_10)}`;
  status.textContent = `${answer.items.length} of ${answer.searched.toLocaleString("en")} pictures · ${how} · ${Math.round(answer.milliseconds)} ms`;
  const scores = answer.items.map((item) => item.score);
  const least = Math.min(...scores, 0), most = Math.max(...scores, least + 1e-6);
  results.className = "grid";
  results.replaceChildren(...answer.items.map((item) => card(item, (item.score - least) / (most - least))));
}

function card(item, share) {
  const score = make("span", { className: "score", textContent: item.score.toFixed(3), title: "cosine to the query" });
  score.style.setProperty("--share", share.toFixed(3));
  const button = make("button", { type: "button" },
    make("span", { className: "picture" }, thumbnail(item.thumbnail, item.caption)),
    make("span", { className: "words" },
      make("span", { className: "caption", textContent: item.caption || "(no caption)" }),
      make("span", { className: "meta" },
        make("span", { className: "licence", textContent: item.licence || "licence unknown", title: item.licence || "" }),
        score)));
  button.addEventListener("click", () => showDetail(item));
  return make("li", {}, button);
}

function thumbnail(address, words) {
  const image = make("img", { src: address, alt: words, loading: "lazy", decoding: "async" });
  image.addEventListener("error", () => image.replaceWith("no picture"), { once: true });
  return image;
}

// Before the first search: pictures from all over the set; each can be searched by.
function showWall() {
  latest++;
  busy(false);
  problem.hidden = true;
  results.className = "grid wall";
  const n = served && served.index ? served.index.n : 0;
  status.textContent = n ? "From all over the set; pick one to search by it." : "This server has no search index.";
  // Steps of the golden ratio spread over any set, periodic ones too.
  const numbers = new Set(Array.from({ length: Math.min(n, 32) }, (_, i) => Math.floor(((i * 0.6180339887) % 1) * n)));
  results.replaceChildren(...Array.from(numbers, (number) => {
    const address = `/thumbnails/${number}.jpg`;
    const button = make("button", { type: "button", ariaLabel: `Search by picture ${number}` },
      make("span", { className: "picture" }, thumbnail(address, "")));
    button.addEventListener("click", () => searchByAddress(address));
    return make("li", {}, button);
  }));
}

function facts(list, entries) {
  list.replaceChildren(...entries.filter(([, value]) => value !== null && value !== undefined && value !== "")
    .flatMap(([name, value]) => [make("dt", { textContent: name }), make("dd", { textContent: value })]));
}

function showDetail(item) {
  find("detail-picture").src = item.thumbnail;
  find("detail-picture").alt = item.caption;
  find("detail-caption").textContent = item.caption || "(no caption)";
  const others = item.captions.filter((caption) => caption.text !== item.caption);
  facts(find("detail-facts"), [
    ["score", item.score.toFixed(4)], ["category", item.category], ["licence", item.licence],
    ["author", item.author], ["origin", item.origin], ["key", item.key],
    ...others.map((caption) => [caption.source.replace("_", " "), caption.text]),
  ]);
  find("similar").onclick = () => { detail.close(); searchByAddress(item.thumbnail); };
  detail.showModal();
}

// ---- what is served ---------------------------------------------------------------------------

async function showServed() {
  served = await (await fetch("/lineage")).json();
  const { receipt, index, model, captioner, bento } = served;
  find("to-captions").hidden = !captioner;
  const parts = [bento, receipt.model && `model version ${receipt.model.version}`];
  if (index) {
    find("count").textContent = `${index.n.toLocaleString("en")} curated pictures`;
    parts.push(`data ${index.dataset_digest.slice(0, 12)}`);
    if (index.approximate) parts.push(`recall@10 ${percent(index.approximate.recall_at_10)}`);
    showChips(Object.entries(index.categories || {}));
  }
  find("served").textContent = parts.filter(Boolean).join(" · ");
  facts(find("lineage"), [["bento", bento], ["model", model?.tag], ["model digest", model?.digest],
    ["captioner", captioner?.tag], ["captioner digest", captioner?.digest],
    ...(index ? [["dataset digest", index.dataset_digest]] : []), ...flat(receipt)]);
}

function flat(value, prefix = "") {
  return Object.entries(value).flatMap(([name, inner]) => {
    const label = (prefix + name).replaceAll("_", " ");
    if (Array.isArray(inner)) return [[label, inner.map(short).join(", ")]];
    return inner && typeof inner === "object" ? flat(inner, `${prefix}${name} `) : [[label, inner === null ? "" : String(inner)]];
  });
}

// A gate is its name and verdict; anything else nested is shown as it is.
function short(part) {
  if (part === null || typeof part !== "object") return part;
  return "passed" in part ? `${part.name} ${part.passed ? "passed" : "failed"}` : JSON.stringify(part);
}

function showChips(categories) {
  const common = categories.sort((a, b) => b[1] - a[1]).slice(0, 8);
  find("chips").replaceChildren(...common.map(([category]) => {
    const name = category.replaceAll("_", " ");
    const chip = make("button", { type: "button", textContent: name });
    chip.addEventListener("click", () => { setPicture(null); text.value = name; submit(); });
    return chip;
  }));
  find("chips").hidden = common.length === 0;
}

// ---- the query --------------------------------------------------------------------------------

function setPicture(blob) {
  const shown = find("query-picture"), image = shown.querySelector("img");
  if (image.src) URL.revokeObjectURL(image.src);
  picture = blob;
  shown.hidden = !blob;
  if (blob) { image.src = URL.createObjectURL(blob); text.value = ""; } else image.removeAttribute("src");
  text.placeholder = blob ? "Searching by your picture" : "Describe a picture";
}

function searchByPicture(blob) {
  setPicture(blob);
  remember();
  ask();
}

async function searchByAddress(address) {
  searchByPicture(await (await fetch(address)).blob());
  scrollTo({ top: 0 });
}

function submit() {
  remember();
  ask();
}

function remember() {
  const words = picture ? "" : text.value.trim();
  history.pushState(null, "", words ? `/?q=${encodeURIComponent(words)}` : "/");
}

function recall() {
  setPicture(null);
  text.value = new URLSearchParams(location.search).get("q") || "";
  ask();
}

form.addEventListener("submit", (event) => { event.preventDefault(); submit(); });
text.addEventListener("input", () => { if (text.value && picture) setPicture(null); });
for (const option of [exact, count]) option.addEventListener("change", () => { if (picture || text.value.trim()) ask(); });
find("choose").addEventListener("click", () => file.click());
find("clear-picture").addEventListener("click", () => { setPicture(null); submit(); text.focus(); });
file.addEventListener("change", () => { if (file.files[0]) searchByPicture(file.files[0]); file.value = ""; });
addEventListener("popstate", recall);
addEventListener("paste", (event) => {
  const pasted = [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
  if (pasted) { event.preventDefault(); searchByPicture(pasted); }
});
addEventListener("keydown", (event) => {
  if (event.key === "/" && !/^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName) && !detail.open) {
    event.preventDefault();
    text.focus();
  }
});
detail.querySelector(".close").addEventListener("click", () => detail.close());
detail.addEventListener("click", (event) => { if (event.target === detail) detail.close(); });

let inside = 0; // dragenter and dragleave fire for every element crossed
addEventListener("dragenter", (event) => { if (event.dataTransfer.types.includes("Files")) { inside++; drop.hidden = false; } });
addEventListener("dragleave", () => { inside = Math.max(0, inside - 1); drop.hidden = inside === 0; });
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  inside = 0;
  drop.hidden = true;
  if (event.dataTransfer.files[0]) searchByPicture(event.dataTransfer.files[0]);
});

showServed().catch(() => fail("The server does not say what it serves.")).then(recall);
