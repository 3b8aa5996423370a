// One backbone at a time is highlighted, in the table and in every plot; who wants to follow listens to "chosen".
const highlight = { chosen: "" };

function choose(name) {
  highlight.chosen = name === highlight.chosen ? "" : name;
  document.dispatchEvent(new CustomEvent("chosen", { detail: highlight.chosen }));
}

document.addEventListener("chosen", ({ detail: name }) => {
  for (const row of document.querySelectorAll(".board tbody tr")) {
    const picked = name !== "" && row.dataset.backbone === name;
    row.classList.toggle("picked", picked);
    row.querySelector(".name").setAttribute("aria-pressed", picked);
  }
  const field = document.getElementById("highlight");
  if (field) field.value = name;
  const status = document.getElementById("chosen");
  status.textContent = name && `${name} is highlighted `;
  if (!name) return;
  const clear = document.createElement("button");
  clear.type = "button";
  clear.textContent = "Clear";
  clear.addEventListener("click", () => choose(""));
  status.append(clear);
});

for (const row of document.querySelectorAll(".board tbody tr")) {
  row.addEventListener("click", (event) => {
    if (!event.target.closest("a") && !getSelection().toString()) choose(row.dataset.backbone);
  });
}
document.getElementById("highlight")?.addEventListener("change", ({ target }) => {
  highlight.chosen = "";
  choose(target.value);
});
document.addEventListener("keydown", ({ key }) => {
  if (key === "Escape" && highlight.chosen) choose("");
});
