// What a reader may expect of a page, as functions that return what is wrong, [] if nothing is.
({
  // Where an element is, for a person who looks for it.
  at(element) {
    const id = element.id ? "#" + element.id : "";
    const text = element.textContent.trim().slice(0, 40);
    return `${element.localName}${id}.${element.getAttribute("class") ?? ""} "${text}"`;
  },

  // All names of elements, and all names of attributes.
  names() {
    const all = [...document.querySelectorAll("*")];
    const attributes = all.flatMap((element) => element.getAttributeNames());
    return [all.map((element) => element.localName), [...new Set(attributes)]];
  },

  // Every text of the page and every value of an attribute, in one text.
  everything() {
    const all = [...document.querySelectorAll("*")];
    const values = all.flatMap((e) => e.getAttributeNames().map((name) => e.getAttribute(name)));
    return document.documentElement.textContent + values.join("\n");
  },

  structure() {
    const wrong = [], all = (selector) => [...document.querySelectorAll(selector)];
    const expect = (holds, text) => holds || wrong.push(text);
    expect(document.documentElement.lang === "en", "no language");
    expect(document.title.trim(), "no title");
    for (const one of ["h1", "main", "body > header", "body > footer", "nav[aria-label]"])
      expect(all(one).length === 1, `${all(one).length} × ${one}`);
    let last = 0;
    for (const heading of all("h1, h2, h3, h4, h5, h6")) {
      const level = +heading.localName[1];
      expect(level <= last + 1, `h${last} is followed by ${this.at(heading)}`);
      expect(heading.textContent.trim(), "an empty heading");
      last = level;
    }
    for (const table of all("table")) {
      expect(table.caption?.textContent.trim(), `no caption: ${this.at(table)}`);
      for (const row of table.tBodies[0].rows)
        expect(row.cells[0].scope === "row", `a row without a header: ${this.at(row)}`);
    }
    for (const th of all("th")) {
      expect(["row", "col"].includes(th.scope), `no scope: ${this.at(th)}`);
      expect(th.textContent.trim(), `an empty header in ${this.at(th.closest("table"))}`);
    }
    for (const svg of all("svg")) {
      const named = svg.getAttribute("role") === "img" && svg.getAttribute("aria-label")?.trim();
      expect(named || svg.getAttribute("aria-hidden") === "true", `no name: ${this.at(svg)}`);
    }
    for (const region of all("[role=region]"))
      expect(region.getAttribute("aria-label")?.trim(), `no name: ${this.at(region)}`);
    const ids = all("[id]").map((element) => element.id);
    expect(new Set(ids).size === ids.length, `an id twice: ${ids}`);
    for (const link of all("a"))
      expect(document.getElementById(link.hash.slice(1)), `leads nowhere: ${this.at(link)}`);
    return wrong;
  },

  // Red, green, blue and opacity, from 0 to 1.
  colour(text) {
    const numbers = text.match(/[\d.]+/g).map(Number);
    if (!/^rgba?\(/.test(text)) throw new Error(`what colour is ${text}?`);
    return [...numbers.slice(0, 3).map((part) => part / 255), numbers[3] ?? 1];
  },

  over(upper, lower) {
    const mixed = [0, 1, 2].map((i) => upper[i] * upper[3] + lower[i] * (1 - upper[3]));
    return [...mixed, 1];
  },

  known: new Map([[null, [1, 1, 1, 1]]]),

  // The colour behind the text of an element.
  behind(element) {
    if (!this.known.has(element)) {
      const own = this.colour(getComputedStyle(element).backgroundColor);
      this.known.set(element, this.over(own, this.behind(element.parentElement)));
    }
    return this.known.get(element);
  },

  // The contrast ratio of WCAG 2.
  ratio(one, other) {
    const light = (colour) => {
      const [r, g, b] = colour.slice(0, 3).map(
        (part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const [low, high] = [light(one), light(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  },

  // Texts that are seen, each by the element that it is in.
  texts() {
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
    while (walker.nextNode())
      if (walker.currentNode.data.trim()) found.push(walker.currentNode.parentElement);
    return [...new Set(found)].filter(
      (element) => element.checkVisibility() && element.getClientRects().length);
  },

  contrast(least) {
    const wrong = [];
    for (const element of this.texts()) {
      const style = getComputedStyle(element), behind = this.behind(element);
      const ink = element.namespaceURI.endsWith("svg") ? style.fill : style.color;
      const ratio = this.ratio(this.over(this.colour(ink), behind), behind);
      if (ratio < least) wrong.push(`${ratio.toFixed(2)}: ${this.at(element)}`);
      if (style.opacity !== "1") wrong.push(`opacity: ${this.at(element)}`);
    }
    return wrong;
  },

  // What is wider than the window, and texts that are cut off.
  overflow() {
    const wrong = [], root = document.documentElement;
    if (root.scrollWidth > innerWidth) wrong.push(`the page is ${root.scrollWidth} px wide`);
    for (const element of this.texts()) {
      if (element.closest("svg, .skip")) continue;
      const own = getComputedStyle(element).overflowX, wide = element.closest(".wide");
      const scrolls = wide && getComputedStyle(wide).overflowX === "auto";
      const box = element.getBoundingClientRect();
      if (box.right > innerWidth + 1 && !scrolls) wrong.push(`too wide: ${this.at(element)}`);
      if (element.scrollWidth > element.clientWidth + 1 && own === "hidden")
        wrong.push(`cut off: ${this.at(element)}`);
    }
    return [...new Set(wrong)];
  },

  // The elements that Tab reaches, in order; each gets a number by which `focused` knows it.
  reachable() {
    const found = [...document.querySelectorAll("a, summary, button, input, [tabindex='0']")]
      .filter((element) => element.checkVisibility());
    window.numbers = new Map(found.map((element, number) => [element, number]));
    return found.map((element) => this.at(element));
  },

  // What has the focus: its number, whether it is within the window, and the contrast of its outline.
  focused() {
    const element = document.activeElement, style = getComputedStyle(element);
    const box = element.getBoundingClientRect();
    const seen = box.width > 0 && box.right > 0 && box.left < innerWidth &&
      box.bottom > 0 && box.top < innerHeight;
    const drawn = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
    const ratio = this.ratio(
      this.colour(style.outlineColor), this.behind(element.parentElement ?? element));
    return [window.numbers.get(element) ?? null, seen, drawn && ratio >= 3];
  },

  open(yes) {
    for (const details of document.querySelectorAll("details")) details.open = yes;
  },
})
