const dialog = document.querySelector("dialog");
let shown = [], current = 0;
function show(number) {
  current = (number + shown.length) % shown.length;
  const figure = shown[current], source = figure.querySelector("img"), target = dialog.querySelector("img");
  target.src = source.src;
  target.alt = source.alt;
  dialog.querySelector("p").textContent = [...figure.querySelector("figcaption").childNodes].map(node => node.textContent).join("  ");
}
document.querySelectorAll(".crops").forEach(group => {
  const figures = [...group.querySelectorAll("figure")];
  figures.forEach((figure, number) => figure.querySelector("button").addEventListener("click", () => {
    shown = figures;
    show(number);
    dialog.showModal();
  }));
});
dialog.querySelector("img").addEventListener("click", () => show(current + 1));
dialog.addEventListener("click", event => { if (event.target === dialog) dialog.close(); });
dialog.addEventListener("keydown", event => {
  if (event.key === "ArrowRight" || event.key === "ArrowLeft") { event.preventDefault(); show(current + (event.key === "ArrowRight" ? 1 : -1)); }
});
