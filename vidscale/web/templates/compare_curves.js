const curvesPlot = document.getElementById("curves");

// Names come from files; plotly would interpret markup in them.
const plotText = text => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");

function qualityText(value, metric) {
  if (value === null) return "–";
  return (value === "inf" ? "∞" : value.toFixed(metric.digits)) + (metric.unit && " " + metric.unit);
}

function hoverText(candidate, point) {
  const lines = [`<b>${plotText(candidate.name)}</b>, crf ${point.crf}`, rateText(point.kbps)];
  data.metrics.forEach((metric, m) => { if (point.quality[m] !== null) lines.push(`${metric.label} ${qualityText(point.quality[m], metric)}`); });
  lines.push(`encode ${point.encode_s.toPrecision(3)} s, decode ${point.decode_s.toPrecision(3)} s per second of video`);
  return lines.join("<br>");
}

// Traces of one candidate: legend entry, line, marks, marks at the top for perfect copies, and bits against full size.
function candidateTraces(candidate, curve, top) {
  const paint = color(candidate.color), m = chosen.metric, width = candidate.full ? 3 : 2;
  const line = { color: paint, width, dash: candidate.dash }, marker = { color: paint, symbol: candidate.symbol, size: candidate.full ? 8 : 9 };
  const shared = { type: "scatter", legendgroup: candidate.name, name: plotText(candidate.name), showlegend: false, zorder: candidate.full ? 1 : 0 };
  const finite = curve.points.filter(point => typeof point.quality[m] === "number");
  const perfect = curve.points.filter(point => point.quality[m] === "inf");
  const hover = points => ({ hovertext: points.map(point => hoverText(candidate, point)), hovertemplate: "%{hovertext}<extra></extra>" });
  const traces = [
    { ...shared, x: [null], y: [null], mode: "lines+markers", line, marker, showlegend: true },
    { ...shared, x: curve.lines[m][0], y: curve.lines[m][1], mode: "lines", line, hoverinfo: "skip" },
    { ...shared, x: finite.map(p => p.kbps), y: finite.map(p => p.quality[m]), mode: "markers", marker, ...hover(finite) },
  ];
  if (perfect.length) {
    const arrow = { ...marker, symbol: "arrow-up", size: 12 };
    traces.push({ ...shared, x: perfect.map(p => p.kbps), y: perfect.map(() => top), mode: "markers", marker: arrow, ...hover(perfect) });
  }
  if (curve.relative && curve.relative[m][0].length) {
    const [x, y] = curve.relative[m];
    traces.push({ ...shared, x, y, yaxis: "y2", mode: "lines", line, hovertext: y.map((more, i) =>
      `<b>${plotText(candidate.name)}</b><br>full size ${rateText(x[i])}<br>${Math.abs(more).toFixed(1)} % ${more < 0 ? "fewer" : "more"} bits`),
      hovertemplate: "%{hovertext}<extra></extra>" });
  }
  return traces;
}

// Marks at 1, 2, 5 of each decade, or at every digit where few decades are shown; those without room for their text have
// none. Low and high are logarithms, width is that of the axis, pixels.
function rateTicks(low, high, width) {
  const digits = high - low > 2.2 ? [1, 3] : high - low > 0.9 ? [1, 2, 5] : high - low > 0.35 ? [1, 1.5, 2, 3, 4, 5, 6, 8] : [1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9];
  const values = [];
  for (let decade = Math.floor(low); decade <= high; decade++) for (const digit of digits) values.push(digit * 10 ** decade);
  const shown = values.filter(value => Math.log10(value) >= low && Math.log10(value) <= high);
  let end = -Infinity;
  const texts = shown.map(value => {
    const text = rateText(value), middle = (Math.log10(value) - low) / (high - low) * width, half = 3.4 * text.length + 4;
    if (middle - half < end) return "";
    end = middle + half;
    return text;
  });
  return { tickmode: "array", tickvals: shown, ticktext: texts };
}

function shownCurves() {
  return data.candidates.map((candidate, c) => ({ candidate, curve: data.curves[chosen.movie]?.[c] }))
    .filter(one => one.curve && one.candidate.encoder === chosen.encoder && one.curve.points.some(point => point.quality[chosen.metric] !== null));
}

function curvesFigure(width, stretch) {
  const shown = shownCurves(), metric = data.metrics[chosen.metric];
  const points = shown.flatMap(one => one.curve.points);
  const finite = points.map(point => point.quality[chosen.metric]).filter(value => typeof value === "number");
  const [low, high] = finite.length ? [Math.min(...finite), Math.max(...finite)] : [0, 0];
  const top = high + Math.max(0.08 * (high - low), 10 ** -metric.digits);
  const traces = shown.flatMap(one => candidateTraces(one.candidate, one.curve, top));
  const below = traces.filter(trace => trace.yaxis === "y2").flatMap(trace => trace.y);
  const { narrow, axis, layout, config } = themedPlot(width, (below.length ? 660 : 460) * stretch);
  const rates = points.length ? points.map(point => Math.log10(point.kbps)) : [2, 3];
  const air = Math.max(0.05, 0.04 * (Math.max(...rates) - Math.min(...rates)));
  const range = [Math.min(...rates) - air, Math.max(...rates) + air];
  const title = (text, y) => ({ text: `<b>${text}</b>`, xref: "paper", yref: "paper", x: 0, xanchor: "left", y, yanchor: "bottom", yshift: 4, showarrow: false });
  const margin = { l: narrow ? 44 : 64, r: 16, t: 30, b: 40 };
  Object.assign(layout, {
    margin, hovermode: "closest",
    legend: { orientation: "h", x: 0, y: -0.08, yanchor: "top", bgcolor: "rgba(0,0,0,0)" },
    annotations: [title(metric.label + (metric.unit && ", " + metric.unit), 1)],
    xaxis: { ...axis, type: "log", range, ...rateTicks(...range, width - margin.l - margin.r), anchor: below.length ? "y2" : "y", tickangle: 0 },
    yaxis: { ...axis, domain: below.length ? [0.42, 1] : [0, 1] },
  });
  if (below.length) {
    layout.annotations.push(title(narrow ? "Bits against full size, %" : "Bits at equal quality, against full size, %", 0.3));
    const ends = [Math.max(-100, Math.min(...below, 0) - 4), Math.min(150, Math.max(...below, 0) + 4)];
    layout.yaxis2 = { ...axis, domain: [0, 0.3], range: ends, zeroline: true, zerolinecolor: color("ink"), zerolinewidth: 2, ticksuffix: narrow ? "" : " %" };
  }
  document.getElementById("below").hidden = !below.length;
  return { traces, layout, config };
}

function showNotes() {
  const notes = document.getElementById("notes");
  notes.replaceChildren();
  for (const { candidate, curve } of shownCurves()) {
    for (const sentence of curve.notes[chosen.metric]) {
      const item = element("li"), swatch = element("span", "", { class: "swatch" });
      swatch.style.borderTop = `4px ${{ dash: "dashed", dot: "dotted", dashdot: "dashed" }[candidate.dash] ?? "solid"} var(--${candidate.color})`;
      item.append(swatch, element("span", sentence));
      notes.append(item);
    }
  }
  if (!shownCurves().length) notes.append(element("li", "No curve: this metric was not measured for this movie with this encoder."));
}

if (curvesPlot) {
  let drawnAt = [0, 1];
  const draw = (width, stretch) => {
    drawnAt = [width, stretch];
    const { traces, layout, config } = curvesFigure(width, stretch);
    return Plotly.react(curvesPlot, traces, layout, config);
  };
  readHash();
  keepDrawn(curvesPlot, draw);
  redraws.push(() => { draw(...drawnAt); showNotes(); });
  // Ticks for the zoomed range.
  curvesPlot.on("plotly_relayout", change => {
    const range = change["xaxis.range[0]"] !== undefined ? [change["xaxis.range[0]"], change["xaxis.range[1]"]] : null;
    if (range) {
      const ticks = rateTicks(...range, curvesPlot._fullLayout._size.w);
      Plotly.relayout(curvesPlot, { "xaxis.tickvals": ticks.tickvals, "xaxis.ticktext": ticks.ticktext });
    } else if (change["xaxis.autorange"]) draw(...drawnAt);
  });
}
