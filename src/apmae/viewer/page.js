"use strict";
// Draws the heads from the page's data, and says what a weight is. Probabilities are decoded from 16-bit
// codes of their logarithm; code 0 is no weight at all.

const LEAST_WIDTH = 560;  // CSS pixels of the large picture; narrower screens scroll
const LABEL_SPACING = 10;
const LABEL_COLUMN = 96;
const LISTED_KEYS = 8;
const MOST_THUMBNAIL = 96;

const find = id => document.getElementById(id);
const look = JSON.parse(find("look").textContent);
const size = look.labels.length;
const cells = size * (size + 1) / 2;
const codes = new Uint16Array(bytes(look.codes).buffer);
const colours = bytes(look.colours);
const tokens = [...document.querySelectorAll(".token")];
const thumbnails = [...document.querySelectorAll(".head")];
const scratch = new OffscreenCanvas(size, size);
const large = find("large");
const state = { head: look.first, query: size - 1, key: null, pinned: size - 1 };
let cell = 1;

function bytes(base64) {
  const text = atob(base64);
  const values = new Uint8Array(text.length);
  for (let index = 0; index < text.length; index++) values[index] = text.charCodeAt(index);
  return values;
}

function probability(head, query, key) {
  const code = key > query ? 0 : codes[head * cells + query * (query + 1) / 2 + key];
  return code && Math.exp(look.floors[head] * (65535 - code) / 65534);
}

function scaled(head, weight) {
  if (!look.ranges || !weight) return weight;
  return Math.max(0, 1 - Math.log(weight) / look.ranges[head]);
}

/** Draw a head on the scratch canvas, a pixel a cell, white above the diagonal. */
function drawPattern(head) {
  const image = new ImageData(size, size);
  image.data.fill(255);
  for (let query = 0; query < size; query++) {
    for (let key = 0; key <= query; key++) {
      const value = scaled(head, probability(head, query, key));
      const colour = 3 * Math.min(255, Math.floor(256 * value));
      image.data.set(colours.subarray(colour, colour + 3), 4 * (query * size + key));
    }
  }
  scratch.getContext("2d").putImageData(image, 0, 0);
}

function drawThumbnail(canvas, head) {
  canvas.width = canvas.height = Math.min(size, MOST_THUMBNAIL);
  drawPattern(head);
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = size > canvas.width;
  context.imageSmoothingQuality = "high";
  context.drawImage(scratch, 0, 0, canvas.width, canvas.height);
}

function drawLarge() {
  const width = Math.max(LEAST_WIDTH, large.parentElement.clientWidth);
  const ratio = devicePixelRatio;
  cell = Math.max(1, Math.min(24, Math.floor((width - LABEL_COLUMN) / size)));
  const side = cell * size;
  large.style.width = large.style.height = `${side + LABEL_COLUMN}px`;
  large.width = large.height = Math.round((side + LABEL_COLUMN) * ratio);
  const context = large.getContext("2d");
  context.scale(ratio, ratio);
  context.imageSmoothingEnabled = false;
  context.drawImage(scratch, LABEL_COLUMN, 0, side, side);
  context.strokeStyle = "#005a94";
  context.lineWidth = 1.5;
  context.strokeRect(LABEL_COLUMN, state.query * cell, (state.query + 1) * cell, cell);
  if (state.key !== null) context.strokeRect(LABEL_COLUMN + state.key * cell, state.key * cell, cell, side - state.key * cell);
  const font = Math.max(8, Math.min(11, cell - 1));
  const step = Math.ceil(LABEL_SPACING / cell);
  look.labels.forEach((text, index) => {
    const marked = { query: index === state.query, key: index === state.key };
    for (const axis of ["query", "key"]) {
      const crowded = Math.abs(index - state[axis]) < step && state[axis] !== null;
      if (!marked[axis] && (index % step || (step > 1 && crowded))) continue;
      context.save();
      context.font = `${marked[axis] ? "bold " : ""}${font}px ui-monospace, Menlo, Consolas, "Liberation Mono", monospace`;
      context.fillStyle = marked[axis] ? "#005a94" : "#1f2933";
      context.textAlign = "right";
      context.textBaseline = "middle";
      const middle = (index + 0.5) * cell;
      if (axis === "query") context.translate(LABEL_COLUMN - 4, middle);
      else { context.translate(LABEL_COLUMN + middle, side + 4); context.rotate(-Math.PI / 2); }
      context.fillText(text, 0, 0, LABEL_COLUMN - 6);
      context.restore();
    }
  });
}

function drawScale(canvas) {
  const image = new ImageData(256, 1);
  image.data.fill(255);
  for (let value = 0; value < 256; value++) {
    image.data.set(colours.subarray(3 * value, 3 * value + 3), 4 * value);
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

function percent(weight) {
  return weight ? `${(100 * weight).toPrecision(3)}%` : "none";
}

function show() {
  const { head, query, key } = state;
  drawLarge();
  const row = tokens.map((_, index) => probability(head, query, index));
  tokens.forEach((token, index) => {
    token.style.setProperty("--weight", Math.sqrt(row[index]).toFixed(3));
    token.classList.toggle("query", index === query);
    token.classList.toggle("key", index === key);
  });
  const at = index => `${index} ${look.labels[index]}`;
  const hint = "Point at a cell to read its weight.";
  find("readout").textContent = key === null ? hint : key > query
    ? `From ${at(query)}, ${at(key)} is still to come.`
    : `From ${at(query)} to ${at(key)}: ${percent(row[key])}`;
  find("keys-caption").textContent =
    `Where it looks from ${at(query)}${query === size - 1 ? ", which makes the prediction" : ""}`;
  const order = row.map((weight, index) => [weight, index]).filter(([weight]) => weight);
  order.sort((a, b) => b[0] - a[0]);
  find("keys").replaceChildren(...order.slice(0, LISTED_KEYS).map(([weight, index]) => {
    const line = document.createElement("tr");
    for (const [text, kind] of [[look.labels[index], ""], [index, "number"], [percent(weight), "number"]]) {
      const field = document.createElement("td");
      field.textContent = text;
      field.className = kind;
      line.append(field);
    }
    return line;
  }));
}

function chooseHead(head) {
  state.head = head;
  drawPattern(head);
  find("head-name").textContent = `Head L${Math.floor(head / look.heads)}H${head % look.heads}`;
  show();
}

function pin(query) {
  state.pinned = state.query = query;
  show();
}

/** One of `elements` is chosen, by a click or with the arrow keys; only that one is a tab stop. */
function choice(elements, perRow, first, chosen) {
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -perRow, ArrowDown: perRow };
  function choose(index) {
    elements.forEach((element, other) => {
      element.setAttribute("aria-checked", other === index);
      element.tabIndex = other === index ? 0 : -1;
    });
    chosen(index);
  }
  elements.forEach((element, index) => {
    element.addEventListener("click", () => choose(index));
    element.addEventListener("keydown", event => {
      const next = elements[index + steps[event.key]];
      if (!next) return;
      event.preventDefault();
      choose(elements.indexOf(next));
      next.focus();
    });
  });
  choose(first);
  return choose;
}

function pointedCell(event) {
  const key = Math.floor((event.offsetX - LABEL_COLUMN) / cell);
  const query = Math.floor(event.offsetY / cell);
  return key >= 0 && key < size && query >= 0 && query < size ? { query, key } : null;
}

function point(place) {
  Object.assign(state, place ?? { query: state.pinned, key: null });
  show();
}

find("bench").style.setProperty("--heads", look.heads);
drawScale(find("scale"));
thumbnails.forEach(drawThumbnail);
choice(thumbnails, look.heads, look.first, chooseHead);
const chooseQuery = choice(tokens, 1, size - 1, pin);
tokens.forEach((token, query) => {
  token.addEventListener("pointerenter", () => point({ query, key: null }));
});
find("tokens").scrollTop = find("tokens").scrollHeight;
find("tokens").addEventListener("pointerleave", () => point(null));
large.addEventListener("pointermove", event => point(pointedCell(event)));
large.addEventListener("pointerleave", () => point(null));
large.addEventListener("click", event => pointedCell(event) && chooseQuery(pointedCell(event).query));
addEventListener("resize", show);
