// The plots to touch take the place of the still ones as soon as they are drawn. Vega's own interpreter evaluates their
// expressions, so that no code is made from text.
function tip(value, event) {
  const place = document.getElementById("tip");
  place.hidden = !value || typeof value !== "object";
  if (place.hidden) return;
  const list = document.createElement("dl");
  for (const [name, text] of Object.entries(value)) {
    list.append(Object.assign(document.createElement("dt"), { textContent: name }));
    list.append(Object.assign(document.createElement("dd"), { textContent: text }));
  }
  place.replaceChildren(list);
  const { width, height } = place.getBoundingClientRect();
  const right = event.clientX + 14 + width > document.documentElement.clientWidth;
  const low = event.clientY + 14 + height > document.documentElement.clientHeight;
  place.style.left = `${Math.max(4, right ? event.clientX - 14 - width : event.clientX + 14)}px`;
  place.style.top = `${Math.max(4, low ? event.clientY - 14 - height : event.clientY + 14)}px`;
}

function touchable(canvas, { rows, views }, config) {
  const figure = canvas.closest("figure");
  const choice = figure.querySelector(".head select");
  let drawn = null;

  async function draw() {
    const spec = choice ? views[choice.value] : Object.values(views)[0];
    const before = drawn;
    figure.classList.add("touched");
    drawn = await vegaEmbed(canvas, { ...spec, datasets: { rows } }, {
      mode: "vega-lite", config, renderer: "svg", ast: true, actions: false, defaultStyle: false, logLevel: 1,
      tooltip: (handler, event, item, value) => tip(value, event),
    });
    before?.finalize();
    drawn.view.addEventListener("click", (event, item) => {
      const name = item?.datum?.backbone;
      if (name || highlight.chosen) choose(name || "");
    });
    follow();
  }

  const focus = figure.querySelector("[data-focus]");
  const drawable = new Set(rows.map((row) => row.backbone));

  function follow() {
    const name = highlight.chosen;
    if (focus) focus.textContent = !name ? focus.dataset.focus : drawable.has(name) ? name : `${name}: nothing to show here`;
    drawn?.view.signal("chosen", name).runAsync();
  }

  document.addEventListener("chosen", follow);
  choice?.addEventListener("change", draw);
  return draw().catch((error) => {
    figure.classList.remove("touched"); // the still plot says the same
    console.error(error);
  });
}

document.addEventListener("DOMContentLoaded", async () => {
  const place = document.getElementById("data-of-plots");
  if (!place) return;
  const { config, plots } = JSON.parse(place.textContent);
  const canvases = [...document.querySelectorAll(".canvas")];
  await Promise.all(canvases.map((canvas) => touchable(canvas, plots[canvas.dataset.plot], config)));
  document.documentElement.dataset.plots = "drawn";
});
document.addEventListener("scroll", () => tip(null), { passive: true });
document.addEventListener("keydown", ({ key }) => key === "Escape" && tip(null));
