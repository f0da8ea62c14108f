// A table whose cells are changed only where their text has changed. On a narrow screen each row is a card, for
// which every cell carries its column's name.

export class Table {
  #body = document.createElement("tbody");
  #columns;
  #element;

  // columns: names; one that begins with "#" holds numbers.
  constructor(element, columns) {
    this.#element = element;
    this.#columns = columns.map((name) => ({ name: name.replace("#", ""), isNumber: name.startsWith("#") }));
    const row = document.createElement("tr");
    row.append(...this.#columns.map(({ name, isNumber }) => {
      const cell = document.createElement("th");
      cell.scope = "col";
      cell.textContent = name;
      cell.classList.toggle("number", isNumber);
      return cell;
    }));
    const head = document.createElement("thead");
    head.append(row);
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
    const row = document.createElement("tr");
    this.#columns.forEach(({ name, isNumber }, place) => {
      const cell = document.createElement(place ? "td" : "th");
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
