// A table whose cells are changed only where their text has changed. On a narrow screen each row is a card, for
// which every cell carries its column's name; the roles are said because cards take them away.

function made(name, role) {
  const element = document.createElement(name);
  element.setAttribute("role", role);
  return element;
}

export class Table {
  #body = made("tbody", "rowgroup");
  #columns;
  #element;

  // columns: names; one that begins with "#" holds numbers.
  constructor(element, columns) {
    this.#element = element;
    this.#columns = columns.map((name) => ({ name: name.replace("#", ""), isNumber: name.startsWith("#") }));
    const row = made("tr", "row");
    row.append(...this.#columns.map(({ name, isNumber }) => {
      const cell = made("th", "columnheader");
      cell.scope = "col";
      cell.textContent = name;
      cell.classList.toggle("number", isNumber);
      return cell;
    }));
    const head = made("thead", "rowgroup");
    head.append(row);
    element.setAttribute("role", "table");
    element.replaceChildren(head, this.#body);
  }

  // rows: for each a list of texts, or of {text, level}.
  show(rows) {
    this.#element.hidden = !rows.length;
    while (this.#body.rows.length > rows.length) this.#body.lastChild.remove();
    while (this.#body.rows.length < rows.length) this.#body.append(this.#row());
    rows.forEach((cells, place) => this.#fill(this.#body.rows[place].cells, cells));
  }

  #row() {
    const row = made("tr", "row");
    this.#columns.forEach(({ name, isNumber }, place) => {
      const cell = place ? made("td", "cell") : made("th", "rowheader");
      if (!place) cell.scope = "row";
      cell.dataset.name = name;
      cell.classList.toggle("number", isNumber);
      row.append(cell);
    });
    return row;
  }

  #fill(elements, cells) {
    cells.forEach((cell, place) => {
      const { text, level = "" } = typeof cell === "object" ? cell : { text: cell };
      const element = elements[place];
      if (element.textContent !== text) element.textContent = text;
      if ((element.dataset.level ?? "") !== level) element.dataset.level = level;
    });
  }
}
