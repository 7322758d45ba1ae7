"use strict";
// Draws openapi.json without anything from elsewhere. All text goes in as text nodes, never as markup.

const DEEPEST = 7;
const content = document.getElementById("content");
const index = document.getElementById("index");
const key = document.getElementById("key");
let api;

key.value = sessionStorage.getItem("kassa-key") || "";
key.addEventListener("input", () => sessionStorage.setItem("kassa-key", key.value));

function make(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

// `code` in backticks; a blank line begins a paragraph.
function prose(text) {
  const box = make("div");
  for (const paragraph of (text || "").split(/\n\s*\n/).filter((part) => part.trim())) {
    box.append(make("p", {}, ...inline(paragraph)));
  }
  return box;
}

function inline(text) {
  return (text || "").split(/(`[^`]+`)/).map((part) =>
    part.startsWith("`") && part.length > 2 ? make("code", {}, part.slice(1, -1)) : part);
}

function resolve(schema) {
  if (!schema || !schema.$ref) return schema || {};
  const found = schema.$ref.split("/").slice(1).reduce((place, name) => (place || {})[name], api);
  return { ...found, ...Object.fromEntries(Object.entries(schema).filter(([name]) => name !== "$ref")) };
}

function typeOf(schema) {
  const it = resolve(schema);
  const options = it.anyOf || it.oneOf;
  if (options) return options.map(typeOf).join(" or ");
  if (it.const !== undefined) return JSON.stringify(it.const);
  if (it.enum) return it.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (it.type === "array") return "array of " + typeOf(it.items);
  if (it.type === "object" || it.properties) return it.title || "object";
  return [it.type || "any", it.format].filter(Boolean).join(", ");
}

function members(schema) {
  let it = resolve(schema);
  const options = it.anyOf || it.oneOf;
  if (options) it = options.map(resolve).find((one) => one.properties || one.items) || it;
  return it.type === "array" && it.items ? members(it.items) : it;
}

function limits(schema) {
  const it = resolve(schema);
  const told = [];
  for (const [name, sign] of [["minimum", "≥ "], ["maximum", "≤ "], ["minLength", "length ≥ "], ["maxLength", "length ≤ "], ["pattern", ""], ["default", "default "]]) {
    if (String(it[name]).includes("\\x00")) continue; // every text refuses NUL; saying it each time hides the rest
    if (it[name] !== undefined) told.push(sign + (typeof it[name] === "string" ? it[name] : JSON.stringify(it[name])));
  }
  return told.join(", ");
}

function tree(schema, depth = 0) {
  const it = members(schema);
  const list = make("ul", { class: "schema" });
  for (const [name, member] of Object.entries(it.properties || {})) {
    const line = make("li", {},
      make("code", {}, name), " ",
      make("span", { class: "type" }, typeOf(member)), " ",
      (it.required || []).includes(name) ? make("span", { class: "must" }, "required ") : null,
      make("span", { class: "soft" }, limits(member)), " ",
      ...inline(resolve(member).description));
    if (depth < DEEPEST && members(member).properties) {
      line.append(make("details", {}, make("summary", { class: "soft" }, "members"), tree(member, depth + 1)));
    }
    list.append(line);
  }
  return list.childElementCount ? list : make("p", { class: "type" }, typeOf(schema));
}

function example(schema, depth = 0) {
  const it = resolve(schema);
  if (it.examples && it.examples.length) return it.examples[0];
  if (it.example !== undefined) return it.example;
  if (it.default !== undefined && it.default !== null) return it.default;
  if (it.const !== undefined) return it.const;
  if (it.enum) return it.enum[0];
  const options = (it.anyOf || it.oneOf || []).filter((one) => one.type !== "null");
  if (options.length) return example(options[0], depth);
  if (depth > DEEPEST) return null;
  if (it.type === "array") return it.items ? [example(it.items, depth + 1)] : [];
  if (it.properties) {
    const wanted = Object.entries(it.properties).filter(([name]) => (it.required || []).includes(name));
    return Object.fromEntries(wanted.map(([name, member]) => [name, example(member, depth + 1)]));
  }
  return { string: it.format === "date-time" ? new Date().toISOString() : "text", integer: it.minimum || 0, number: 0, boolean: true, object: {} }[it.type] ?? null;
}

function bodyOf(operation) {
  const media = ((operation.requestBody || {}).content || {})["application/json"];
  if (!media) return null;
  const ready = Object.values(media.examples || {}).map((one) => one.value)[0];
  return { schema: media.schema, value: ready ?? media.example ?? example(media.schema) };
}

function parametersTable(operation) {
  const rows = (operation.parameters || []).map(resolve).map((one) => make("tr", {},
    make("td", {}, make("code", {}, one.name), one.required ? make("span", { class: "must" }, " required") : null),
    make("td", { class: "type" }, one.in + ", " + typeOf(one.schema)),
    make("td", {}, ...inline(one.description), make("div", { class: "soft" }, limits(one.schema)))));
  return rows.length ? [make("h4", {}, "Parameters"), make("table", {}, make("tbody", {}, ...rows))] : [];
}

function responses(operation) {
  const rows = Object.entries(operation.responses || {}).map(([status, one]) => {
    const media = Object.values(resolve(one).content || {})[0];
    const shape = media && media.schema ? make("details", {}, make("summary", { class: "soft" }, typeOf(media.schema)), tree(media.schema)) : "";
    return make("tr", {}, make("td", {}, make("code", {}, status)), make("td", {}, ...inline(resolve(one).description), shape));
  });
  return [make("h4", {}, "Answers"), make("table", {}, make("tbody", {}, ...rows))];
}

function quoted(text) {
  return "'" + text.replaceAll("'", "'\\''") + "'";
}

function tryOut(path, method, operation) {
  const form = make("form", { class: "try" });
  const fields = (operation.parameters || []).map(resolve).map((one) => {
    const input = make("input", { name: one.name, spellcheck: "false" });
    form.append(make("label", {}, make("span", {}, make("code", {}, one.name)), input));
    return [one, input];
  });
  const body = bodyOf(operation);
  const text = body ? make("textarea", { spellcheck: "false", "aria-label": "Body" }) : null;
  if (text) {
    text.value = JSON.stringify(body.value, null, 2);
    form.append(text);
  }
  const answer = make("div");
  form.append(make("p", {}, make("button", { type: "submit" }, "Send")), answer);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const url = new URL(path.replace(/\{(\w+)\}/g, (_, name) => {
      const field = fields.find(([one]) => one.in === "path" && one.name === name);
      return encodeURIComponent(field ? field[1].value : "");
    }).replace(/^\//, ""), new URL(".", document.baseURI));
    const headers = {};
    if (key.value) headers.Authorization = "Bearer " + key.value;
    for (const [one, input] of fields) {
      if (!input.value) continue;
      if (one.in === "query") url.searchParams.append(one.name, input.value);
      if (one.in === "header") headers[one.name] = input.value;
    }
    if (text && text.value) headers["Content-Type"] = "application/json";
    const shown = Object.entries(headers).map(([name, value]) =>
      " \\\n  -H " + (name === "Authorization" ? '"Authorization: Bearer $KEY"' : quoted(name + ": " + value))).join("");
    const curl = "curl -X " + method.toUpperCase() + " " + quoted(url.href) + shown + (text && text.value ? " \\\n  -d " + quoted(text.value) : "");
    answer.replaceChildren(make("pre", {}, curl));
    try {
      const response = await fetch(url, { method: method.toUpperCase(), headers, body: text && text.value ? text.value : undefined });
      const raw = await response.text();
      let pretty = raw;
      try { pretty = JSON.stringify(JSON.parse(raw), null, 2); } catch { /* not JSON: shown as it came */ }
      answer.append(make("p", {}, "HTTP " + response.status + " · " + (response.headers.get("X-Request-Id") || "")), make("pre", {}, pretty || "(empty)"));
    } catch (problem) {
      answer.append(make("p", { class: "error" }, "No answer: " + problem.message));
    }
  });
  return make("details", {}, make("summary", {}, "Try it"), form);
}

function operationBox(path, method, operation, callable) {
  const id = operation.operationId || method + path;
  const box = make("details", { class: "operation", id },
    make("summary", {}, make("span", { class: "method " + method }, method.toUpperCase()), make("span", { class: "path" }, path), make("h3", {}, operation.summary || "")));
  box.addEventListener("toggle", () => {
    if (!box.open || box.childElementCount > 1) return;
    const body = bodyOf(operation);
    box.append(make("div", {}, prose(operation.description), ...parametersTable(operation),
      ...(body ? [make("h4", {}, "Body"), tree(body.schema), make("pre", {}, JSON.stringify(body.value, null, 2))] : []),
      ...responses(operation), ...(callable ? [make("h4", {}, "Try it"), tryOut(path, method, operation)] : [])));
  });
  return box;
}

function open() {
  const box = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (box) {
    box.open = true;
    box.scrollIntoView({ block: "center" });
  }
}

function draw() {
  document.getElementById("title").textContent = api.info.title + " " + api.info.version;
  content.replaceChildren(prose(api.info.description));
  index.replaceChildren();
  const tags = new Map((api.tags || []).map((tag) => [tag.name, { about: tag.description, boxes: [] }]));
  const place = (tag) => tags.get(tag) || tags.set(tag, { about: "", boxes: [] }).get(tag);
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      place((operation.tags || ["other"])[0]).boxes.push([path, method, operation, true]);
    }
  }
  for (const [name, methods] of Object.entries(api.webhooks || {})) {
    for (const [method, operation] of Object.entries(methods)) place("messages we send").boxes.push([name, method, operation, false]);
  }
  for (const [name, { about, boxes }] of tags) {
    if (!boxes.length) continue;
    content.append(make("h2", {}, name), prose(about), ...boxes.map((one) => operationBox(...one)));
    index.append(make("strong", {}, name), ...boxes.map(([path, method, operation]) =>
      make("a", { href: "#" + encodeURIComponent(operation.operationId || method + path) }, operation.summary || path)));
  }
  open();
}

addEventListener("hashchange", open);
fetch("openapi.json")
  .then((response) => response.json())
  .then((found) => { api = found; draw(); })
  .catch((problem) => content.replaceChildren(make("p", { class: "error" }, "openapi.json cannot be read: " + problem.message)));
