// The theme's colour of this name.
const color = name => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();

// Shared by all plots: layout in the theme's colours, and axis defaults.
function themedPlot(width, height) {
  const narrow = width < 560;
  return {
    narrow,
    axis: { gridcolor: color("line"), linecolor: color("line"), zeroline: false, tickcolor: color("line") },
    layout: {
      width, height, paper_bgcolor: color("panel"), plot_bgcolor: color("panel"),
      font: { family: getComputedStyle(document.body).fontFamily, size: narrow ? 11 : 13, color: color("ink") },
      hoverlabel: { bgcolor: color("panel"), bordercolor: color("line"), font: { color: color("ink"), size: 12 } },
    },
    config: { displaylogo: false, responsive: false, displayModeBar: false },
  };
}

// Calls draw(width, height factor) now, and again when the width, the theme or the print mode changes.
function keepDrawn(element, draw) {
  let drawn = element.clientWidth;
  draw(drawn, 1);
  new ResizeObserver(() => { if (element.clientWidth !== drawn) { drawn = element.clientWidth; draw(drawn, 1); } }).observe(element);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw(element.clientWidth, 1));
  matchMedia("print").addEventListener("change", event => event.matches ? draw(680, 0.75) : draw(element.clientWidth, 1));
}

addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(d => { d.open = true; }));

for (const button of document.querySelectorAll(".command button")) {
  button.addEventListener("click", async () => {
    const text = button.previousElementSibling;
    getSelection().selectAllChildren(text);
    try { await navigator.clipboard.writeText(text.textContent); } catch { document.execCommand("copy"); }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
}
