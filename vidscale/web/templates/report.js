function themed(figure, width, stretch) {
  const { narrow, axis, layout: base, config } = themedPlot(width, figure.layout.height * stretch);
  const layout = { ...figure.layout, ...base, margin: { ...figure.layout.margin, l: narrow ? 44 : figure.layout.margin.l } };
  for (const key of Object.keys(layout)) {
    if (/^[xy]axis/.test(key)) layout[key] = { ...axis, ...layout[key], fixedrange: key[0] === "y" };
    if (/^legend/.test(key)) layout[key] = { ...layout[key], bgcolor: "rgba(0,0,0,0)", itemwidth: 30 };
  }
  layout.annotations = layout.annotations.map(note => ({ ...note, text: "<b>" + note.text + "</b>", font: { size: narrow ? 11 : 13 } }));
  layout.xaxis = { ...layout.xaxis, showspikes: true, spikemode: "across", spikecolor: color("muted"), spikethickness: 1, spikedash: "dot" };
  const data = figure.data.map(trace => {
    const c = color(trace.meta.color), result = { ...trace };
    if (trace.line) result.line = { ...trace.line, color: c };
    if (trace.fill) result.fillcolor = c + "4d";
    if (narrow && ["perfect", "worst"].includes(trace.meta.series)) result.showlegend = false;
    if (trace.marker) result.marker = { ...trace.marker, color: c };
    return result;
  });
  return { data, layout, config };
}

const plots = document.getElementById("plots");
if (plots) {
  const figure = JSON.parse(document.getElementById("figure").textContent);
  // Convert milliseconds to dates: plotly would take small numbers for years.
  const dates = times => times.map(ms => new Date(ms).toISOString().slice(0, -1));
  for (const trace of figure.data) trace.x = dates(trace.x);
  figure.layout.xaxis.range = dates(figure.layout.xaxis.range);
  keepDrawn(plots, (width, stretch) => Plotly.react(plots, themed(figure, width, stretch)));
}

const dialog = document.querySelector("dialog");
const choices = [...dialog.querySelectorAll("button[type=button]")];
let shown = [], current = 0;
function show(number) {
  current = (number + shown.length) % shown.length;
  dialog.querySelector("img").src = shown[current].src;
  dialog.querySelector("img").alt = shown[current].alt;
  choices.forEach((choice, i) => choice.setAttribute("aria-pressed", String(i === current)));
}
document.querySelectorAll(".triple").forEach(triple => {
  const images = [...triple.querySelectorAll("img")];
  images.forEach((image, i) => image.parentElement.addEventListener("click", () => {
    shown = images;
    dialog.querySelector("span").textContent = triple.querySelector("h3").textContent;
    show(i);
    dialog.showModal();
    choices[i].focus();
  }));
});
choices.forEach((choice, i) => choice.addEventListener("click", () => show(i)));
dialog.querySelector("img").addEventListener("click", () => show(current === 0 ? 1 : 0));
dialog.addEventListener("keydown", event => {
  if (event.key === "ArrowRight" || event.key === "ArrowLeft") { event.preventDefault(); show(current + (event.key === "ArrowRight" ? 1 : -1)); }
});
