"use strict";
// The picture is laid out already; this shows what its rows say, step by step, and which lines lead to the loss.

const [NAME, FORMULA, VALUE, ADJOINT, KIND, ARGS] = [0, 1, 2, 3, 4, 5];
const graph = document.querySelector(".graph"), told = document.getElementById("told");
let rows = [], boxes = [], boxOf = [], users = [], steps = [], at = -1, zoom = 1;

async function unpacked() {
  const bytes = Uint8Array.from(atob(document.getElementById("data").textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

function element(tag, text, parent) {
  const made = document.createElement(tag);
  if (text !== null) made.textContent = text;
  parent.append(made);
  return made;
}

// What is said of a row: the chain rule as it is written on a blackboard.
function chainRule(k) {
  const row = rows[k], head = `dL/d${row[NAME]}`;
  if (row[ADJOINT] === null) return "";
  if (!users[k].length) return `${head} = ${row[ADJOINT]}`;
  const plain = users[k].every(([, arg]) => arg[3] === 0);
  const rules = users[k].map(([u, arg]) =>
    arg[3] === 0 ? `dL/d${rows[u][NAME]} * d${rows[u][NAME]}/d${row[NAME]}` : arg[3]);
  const numbers = plain ? ` = ${users[k].map(([u, arg]) => `${rows[u][ADJOINT]} * ${arg[1]}`).join(" + ")}` : "";
  return `${head} = ${rules.join(" + ")}${numbers} = ${row[ADJOINT]}`;
}

function table(k) {
  const args = rows[k][ARGS];
  if (!args.length) return;
  const made = element("table", null, told), head = element("tr", null, element("thead", null, made));
  for (const title of ["operand", "value", "local derivative", "gets"]) element("th", title, head).scope = "col";
  const body = element("tbody", null, made);
  for (const [j, slope, term] of args) {
    const line = element("tr", null, body);
    for (const text of [rows[j][NAME], rows[j][VALUE], slope ?? "-", term ?? "-"]) element("td", text, line);
  }
}

function members(b) {
  if (boxes[b].length < 2) return;
  const list = element("p", "folded here: ", told);
  for (const k of boxes[b]) {
    const made = element("button", rows[k][NAME], list);
    made.type = "button";
    made.addEventListener("click", () => show(k, false));
    list.append(" ");
  }
}

function show(k, move = true) {
  const row = rows[k], b = boxOf[k];
  told.replaceChildren();
  element("code", row[FORMULA] === row[NAME] ? row[NAME] : `${row[NAME]} = ${row[FORMULA]}`, element("p", null, told));
  const kind = row[KIND] ? `${row[KIND]}, ` : "";
  element("p", `${kind}value ${row[VALUE]}${row[ADJOINT] === null ? "" : `, adjoint ${row[ADJOINT]}`}`, told);
  const rule = chainRule(k);
  if (rule) element("code", rule, element("p", null, told));
  table(k);
  members(b);
  for (const other of graph.querySelectorAll(".node.on")) {
    other.classList.remove("on");
    other.tabIndex = -1;
  }
  const box = document.getElementById(`b${b}`);
  box.classList.add("on");
  box.tabIndex = 0;
  if (move) {
    box.focus({ preventScroll: true });
    brought(box);
  }
  document.dispatchEvent(new CustomEvent("row", { detail: k }));
}

function step(by) {
  at = Math.min(steps.length - 1, Math.max(0, at + by));
  show(steps[at]);
}

function choose(k) {
  at = steps.indexOf(k);
  show(k, false);
  brought(document.getElementById(`b${boxOf[k]}`));
}

// The graph scrolls to a box, the page around it stays.
function brought(box) {
  const view = document.getElementById("view"), outer = view.getBoundingClientRect(), inner = box.getBoundingClientRect();
  view.scrollBy(inner.x + inner.width / 2 - outer.x - outer.width / 2, inner.y + inner.height / 2 - outer.y - outer.height / 2);
}

// All that lies between a row and the loss: whatever uses it, and what uses that.
function paths(k) {
  clear();
  const seen = new Set([k]), pending = [k];
  while (pending.length) {
    const here = pending.pop();
    for (const [u] of users[here]) {
      document.getElementById(`e${boxOf[here]}-${boxOf[u]}`)?.classList.add("path");
      if (!seen.has(u)) {
        seen.add(u);
        pending.push(u);
      }
    }
  }
  graph.classList.add("paths");
  for (const j of seen) document.getElementById(`b${boxOf[j]}`).classList.add("path");
  at = steps.indexOf(k);
  show(k);
}

function clear() {
  graph.classList.remove("paths");
  for (const marked of graph.querySelectorAll(".path")) marked.classList.remove("path");
}

function scale(by) {
  zoom = Math.min(4, Math.max(0.05, zoom * by));
  const view = graph.viewBox.baseVal;
  graph.setAttribute("width", view.width * zoom);
  graph.setAttribute("height", view.height * zoom);
}

// The whole graph in the window where its boxes can still be read; else as small as that, at the loss.
function fitted() {
  const view = document.getElementById("view"), size = graph.viewBox.baseVal;
  zoom = 1;
  scale(Math.min(1, Math.max(0.4, Math.min(view.clientWidth / size.width, view.clientHeight / size.height))));
  if (size.width * zoom > view.clientWidth) brought(document.getElementById(`b${boxOf[rows.length - 1]}`));
}

const KEYS = {
  ArrowRight: () => step(1), ArrowLeft: () => step(-1), ArrowDown: () => step(1), ArrowUp: () => step(-1),
  Home: () => step(-steps.length), End: () => step(steps.length), Escape: clear,
  "0": fitted, "+": () => scale(1.25), "-": () => scale(0.8),
};

function listen() {
  for (const node of graph.querySelectorAll(".node")) {
    const k = boxes[Number(node.id.slice(1))].at(-1);
    node.addEventListener("click", () => paths(k));
    node.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      paths(k);
    });
  }
  document.getElementById("next").addEventListener("click", () => step(1));
  document.getElementById("back").addEventListener("click", () => step(-1));
  (document.getElementById("drawing") ?? document).addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in KEYS)) return;
    event.preventDefault();
    KEYS[event.key]();
  });
}

unpacked().then((data) => {
  ({ rows, boxes } = data);
  boxes.forEach((held, b) => held.forEach((k) => { boxOf[k] = b; }));
  users = rows.map(() => []);
  rows.forEach((row, u) => row[ARGS].forEach((arg) => { if (arg[2] !== null) users[arg[0]].push([u, arg]); }));
  users.forEach((list) => list.reverse());
  steps = [...rows.keys()].filter((k) => rows[k][ADJOINT] !== null).reverse();
  document.getElementById(`b${boxOf[rows.length - 1]}`).tabIndex = 0;
  listen();
  fitted();
  document.body.dataset.ready = "yes";
});
