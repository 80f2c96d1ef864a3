// The table of changed rows: filters, search, pages and keys. Data comes in as text and never as markup.
"use strict";
(() => {
  const PAGE = 50;
  const TAGS = { "-": "del", "+": "ins" };
  const body = document.getElementById("rows");
  if (!body) return;
  const data = JSON.parse(document.getElementById("data").textContent);
  const form = document.getElementById("filters");
  const fields = form.elements;
  const status = document.getElementById("status");
  const previous = document.getElementById("previous");
  const next = document.getElementById("next");
  const keys = document.getElementById("keys");
  const count = (number) => number.toLocaleString("en-US");
  let found = data.rows;
  let page = 0;
  let current = 0;

  const element = (tag, text, name) => {
    const made = document.createElement(tag);
    if (text) made.textContent = text;
    if (name) made.className = name;
    return made;
  };

  const pieces = (parts) => {
    const line = element("p");
    line.dir = "auto";
    for (const [mark, text] of parts) line.append(mark in TAGS ? element(TAGS[mark], text) : text);
    return line;
  };

  const drawn = (row, place) => {
    const line = element("tr");
    line.tabIndex = place === current ? 0 : -1;
    const cells = [0, 1, 2, 3].map(() => line.appendChild(element("td")));
    for (const kind of row.kinds) cells[0].append(element("span", kind, "badge"));
    if (row.near) cells[0].append(element("p", `similarity ${row.near}`, "place"));
    cells[1].append(...row.texts.map(pieces));
    cells[2].append(pieces(row.label));
    cells[3].append(element("p", `${row.task}, ${row.splits.join(" → ")}`));
    for (const where of row.places) cells[3].append(element("p", where, "place"));
    return line;
  };

  const draw = () => {
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    page = Math.min(Math.max(page, 0), pages - 1);
    const here = found.slice(page * PAGE, (page + 1) * PAGE);
    current = Math.min(Math.max(current, 0), Math.max(0, here.length - 1));
    body.replaceChildren(...here.map(drawn));
    previous.disabled = page === 0;
    next.disabled = page === pages - 1;
    const first = here.length ? page * PAGE + 1 : 0;
    const rows = `rows ${count(first)} to ${count(page * PAGE + here.length)} of ${count(found.length)}`;
    status.textContent = found.length ? `${rows} · page ${count(page + 1)} of ${count(pages)}` : "no row matches";
  };

  const words = (row) =>
    [row.task, ...row.places, ...row.labels, ...[...row.texts, row.label].flatMap((parts) =>
      [["-"], ["+"]].map(([mark]) =>
        parts.filter((part) => part[0] === "=" || part[0] === mark).map((part) => part[1]).join("")))]
      .join("\n").toLowerCase();

  const filter = () => {
    const wanted = fields.search.value.trim().toLowerCase();
    const chosen = ["task", "split", "kind", "label"].map((name) => [name, fields[name].value]);
    const of = (row, name) => (name === "task" ? [row.task] : row[`${name}s`]);
    found = data.rows.filter((row) => {
      if (chosen.some(([name, value]) => value && !of(row, name).includes(value))) return false;
      if (!wanted) return true;
      row.words ??= words(row);
      return row.words.includes(wanted);
    });
    page = current = 0;
    draw();
  };

  const turn = (step) => {
    page += step;
    current = 0;
    draw();
  };

  const select = (step) => {
    const started = body.contains(document.activeElement);
    const last = body.children.length - 1;
    let wanted = started ? current + step : current;
    if (wanted > last && !next.disabled) {
      turn(1);
      wanted = 0;
    } else if (wanted < 0 && !previous.disabled) {
      turn(-1);
      wanted = PAGE - 1;
    }
    wanted = Math.min(Math.max(wanted, 0), body.children.length - 1);
    focus(wanted);
  };

  const focus = (place) => {
    const line = body.children[place];
    if (!line) return;
    if (body.children[current]) body.children[current].tabIndex = -1;
    current = place;
    line.tabIndex = 0;
    line.focus();
    line.scrollIntoView({ block: "nearest" });
  };

  const actions = {
    "/": () => fields.search.focus(),
    "?": () => keys.showModal(),
    j: () => select(1),
    k: () => select(-1),
    n: () => turn(next.disabled ? 0 : 1),
    p: () => turn(previous.disabled ? 0 : -1),
    ArrowDown: () => select(1),
    ArrowUp: () => select(-1),
  };

  document.addEventListener("keydown", (event) => {
    const at = event.target;
    if (event.ctrlKey || event.metaKey || event.altKey || keys.open) return;
    if (at.matches("input, select, textarea")) {
      if (event.key === "Escape") at.blur();
      return;
    }
    if (event.key.startsWith("Arrow") && !body.contains(at)) return;
    if (!Object.hasOwn(actions, event.key)) return;
    event.preventDefault();
    actions[event.key]();
  });

  for (const name of ["task", "split", "kind", "label"]) {
    for (const value of data[`${name}s`]) {
      const option = element("option", value.length > 60 ? `${value.slice(0, 60)}…` : value);
      option.value = value;
      fields[name].append(option);
    }
    fields[name].addEventListener("change", filter);
  }
  form.addEventListener("submit", (event) => event.preventDefault());
  fields.search.addEventListener("input", filter);
  body.addEventListener("focusin", (event) => { current = [...body.children].indexOf(event.target.closest("tr")); });
  previous.addEventListener("click", () => turn(-1));
  next.addEventListener("click", () => turn(1));
  document.getElementById("help").addEventListener("click", () => keys.showModal());
  filter();
})();
