// Fill the tables and curves of a page from the data in it, and keep the reader's choices in the page's address:
// #TABLE.COLUMN=WORD, #TABLE.find=WORDS, #TABLE.order=COLUMN:asc, #TABLE.page=2. All data is set as text, never as HTML.
(() => {
  "use strict";

  const state = () => new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
  let written = location.hash;

  function keep(key, value) {
    const now = state();
    if (value === "" || value === null) now.delete(key);
    else now.set(key, value);
    written = now.size ? "#" + now : "";
    // Replace the entry, so that the browser's back button still leaves the page.
    history.replaceState(null, "", written || location.href.split("#")[0]);
  }

  // A new fragment, from a link or typed, is a new view: load the page again.
  addEventListener("hashchange", () => {
    if (location.hash.includes("=") && location.hash !== written) location.reload();
  });

  const element = (name, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  };

  const picker = (label, words, chosen, all, picked) => {
    const select = element("select", {}, ...all, ...words.map((w) => new Option(w === "" ? "(none)" : w, w)));
    select.value = chosen;
    select.addEventListener("change", () => picked(select.value));
    return element("label", { className: "pick" }, element("span", { textContent: label }), select);
  };

  // On a phone the names of the pages are wider than the screen.
  document.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

  // --- tables -------------------------------------------------------------------------------------------------

  const numeric = new Set(["number", "count", "share", "exact"]);
  const asNumber = (v) => (v === null ? -Infinity : v === "inf" ? Infinity : v === "-inf" ? -1e308 : v === "NaN" ? Infinity : v);

  function digits(kind, v) {
    if (v === null) return "";
    if (typeof v === "string") return v;
    if (kind === "count") return v.toLocaleString("en");
    if (kind === "share") return v === 1 ? "100%" : (100 * v).toFixed(1) + "%";
    if (kind === "exact") return String(v === 0 && 1 / v < 0 ? "-0" : Number(v.toPrecision(9)));
    if (v === 0) return "0";
    const size = Math.abs(v);
    return size >= 1e5 || size < 1e-3 ? v.toExponential(2).replace("e+", "e") : String(Number(v.toPrecision(3)));
  }

  function broken(text) {
    const parts = text.split(/(?<=[/._,[\]-])|(?<=[a-z])(?=[A-Z])/);
    return parts.flatMap((part, i) => (i ? [document.createElement("wbr"), part] : [part]));
  }

  const word = (column, v) => (v === null || v < 0 ? "" : column.words[v]);

  function shown(column, v) {
    const [code, beside] = Array.isArray(v) ? v : [v, null];
    const text = word(column, code);
    const href = beside ?? (column.links && code >= 0 ? column.links[code] : null);
    const grade = column.kind === "grade" && text.length === 1;
    const inside = column.kind === "name" ? broken(text) : [text];
    const className = grade ? "chip g" + text : "";
    return href ? element("a", { href, className }, ...inside) : element("span", { className }, ...inside);
  }

  function described(column) {
    if (numeric.has(column.kind)) {
      const full = column.kind === "exact";
      return {
        type: "num",
        className: "right",
        render: (v, how) => {
          if (how === "display") {
            const made = element("span", { textContent: digits(column.kind, v) });
            if (full && v !== null) made.title = String(v);
            return made;
          }
          return how === "sort" || how === "type" ? asNumber(v) : digits(column.kind, v);
        },
      };
    }
    return {
      type: "string",
      visible: !column.hidden,
      className: column.kind,
      render: (v, how) => (how === "display" ? shown(column, v) : word(column, Array.isArray(v) ? v[0] : v)),
    };
  }

  function table(box) {
    const data = JSON.parse(box.querySelector("script").textContent);
    const name = data.name;
    const asked = state();
    const place = (title) => data.columns.findIndex((c) => c.title === title);
    const order = (asked.get(name + ".order") ?? "").split(/:(?=asc$|desc$)/);
    const made = element("table");
    made.setAttribute("aria-label", data.title || document.querySelector("h1").textContent);
    made.append(element("thead", {}, element("tr", {}, ...data.columns.map((c) => element("th", { textContent: c.title })))));
    const scroll = element("div", { className: "scroll", tabIndex: 0 }, made);
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", (data.title || "Table") + ", scrolls sideways");
    const filters = element("div", { className: "picks" });
    box.append(filters, scroll);
    const grid = new DataTable(made, {
      data: data.rows,
      columns: data.columns.map(described),
      order: place(order[0]) >= 0 && order[1] ? [[place(order[0]), order[1]]] : data.order,
      search: { search: asked.get(name + ".find") ?? "" },
      pageLength: 25,
      displayStart: 25 * ((Number(asked.get(name + ".page")) || 1) - 1),
      lengthChange: false,
      autoWidth: false,
      layout: {
        topStart: { search: { placeholder: "any column" } },
        topEnd: "info",
        bottomStart: null,
        bottomEnd: data.rows.length > 25 ? "paging" : null,
      },
      language: {
        search: "Find",
        info: "_START_ to _END_ of _TOTAL_",
        infoEmpty: "none",
        infoFiltered: "(of _MAX_)",
        zeroRecords: "No line matches the filters.",
        paginate: { first: "First", last: "Last", next: "Next", previous: "Previous" },
      },
    });
    // The library wraps its controls around the table, but only the table should scroll.
    const around = grid.table().container();
    box.append(around);
    scroll.remove();
    made.replaceWith(scroll);
    scroll.append(made);
    around.prepend(filters);
    filters.append(around.querySelector(".dt-search"));

    data.columns.forEach((column, i) => {
      if (!column.pick) return;
      const there = new Set(data.rows.map((row) => word(column, Array.isArray(row[i]) ? row[i][0] : row[i])));
      const words = [...there].sort((a, b) => column.words.indexOf(a) - column.words.indexOf(b));
      if (words.length < 2) return;
      if (column.kind === "grade") words.sort();
      const key = name + "." + column.title;
      const narrow = (picked) => {
        const fixed = grid.column(i).search;
        if (picked === "") fixed.fixed("pick", null);
        else fixed.fixed("pick", (text) => text === (picked === "(none)" ? "" : picked));
      };
      const chosen = asked.get(key) ?? "";
      if (chosen) narrow(chosen);
      const options = words.map((w) => (w === "" ? "(none)" : w));
      filters.append(
        picker(column.title, options, chosen, [new Option("all", "")], (picked) => {
          narrow(picked);
          keep(key, picked);
          grid.draw();
        }),
      );
    });
    // A link can filter a column that has no list to pick from, such as the case.
    data.columns.forEach((column, i) => {
      const chosen = asked.get(name + "." + column.title);
      if (chosen && !column.pick && column.words) {
        grid.column(i).search.fixed("pick", (text) => text === chosen);
        const clear = element("button", { type: "button", className: "clear", textContent: column.title + ": " + chosen + " ✕" });
        clear.setAttribute("aria-label", "Show every " + column.title + " again");
        clear.addEventListener("click", () => {
          grid.column(i).search.fixed("pick", null);
          keep(name + "." + column.title, "");
          clear.remove();
          grid.draw();
        });
        filters.append(clear);
      }
    });
    grid.draw(false);
    grid.on("order", () => {
      const [first] = grid.order();
      keep(name + ".order", first && first[1] ? data.columns[first[0]].title + ":" + first[1] : "");
    });
    grid.on("search", () => keep(name + ".find", grid.search()));
    grid.on("page", () => keep(name + ".page", grid.page() ? String(grid.page() + 1) : ""));
    if ([...asked.keys()].some((key) => key.startsWith(name + "."))) box.closest("section").scrollIntoView();
  }

  // --- curves -------------------------------------------------------------------------------------------------

  function explore(section) {
    const data = JSON.parse(section.querySelector("script").textContent);
    const name = section.dataset.explore;
    const drawing = section.querySelector(".drawing");
    const now = { ...data.start };
    for (const key of Object.keys(now)) {
      const asked = state().get(name + "." + key);
      if (data.pick[key].includes(asked)) now[key] = asked;
    }
    const draw = () => {
      const view = data.views[now.dtype + " " + now.quantity];
      const points = view.points.map(([i, k, x, y]) => ({ implementation: data.names[i], kind: data.names[k], x, y }));
      const target = element("div");
      const spec = { ...view.spec, datasets: { lines: points } };
      vegaEmbed(target, spec, { actions: false, renderer: "svg", ast: false }).then((made) => {
        const picture = target.querySelector("svg");
        picture.setAttribute("role", "img");
        picture.setAttribute("aria-label", `Error of the ${now.quantity} along the ${name}, ${now.dtype}`);
        drawing.replaceChildren(target);
        made.view.resize().run();
      });
      drawing.replaceChildren(target);
    };
    const picks = section.querySelector(".picks");
    for (const [key, words] of Object.entries(data.pick)) {
      picks.append(
        picker(key, words, now[key], [], (picked) => {
          now[key] = picked;
          keep(name + "." + key, picked);
          draw();
        }),
      );
    }
    draw();
    if ([...state().keys()].some((key) => key.startsWith(name + "."))) section.scrollIntoView();
  }

  // --- copying ------------------------------------------------------------------------------------------------

  function copying(box) {
    const button = element("button", { type: "button", className: "copy", textContent: "Copy" });
    const said = (text) => {
      button.textContent = text;
      setTimeout(() => (button.textContent = "Copy"), 2000);
    };
    button.addEventListener("click", async () => {
      const text = box.querySelector("code").textContent;
      try {
        await navigator.clipboard.writeText(text);
        said("Copied");
      } catch {
        // A page without https, or without the permission: select the text, so that the reader's keys copy it.
        getSelection().selectAllChildren(box.querySelector("code"));
        said("Selected");
      }
    });
    button.setAttribute("aria-live", "polite");
    box.before(button);
  }

  document.querySelectorAll("pre.copied").forEach(copying);
  document.querySelectorAll(".grid").forEach(table);
  document.querySelectorAll("[data-explore]").forEach(explore);
})();
