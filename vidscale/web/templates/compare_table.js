const table = document.getElementById("table");

// The way that a way is compared with: the chosen one, or the first of its own encoder, which is the full size where there is one.
function anchorOf(w) {
  return chosen.anchor ?? data.ways.findIndex(way => way.encoder === data.ways[w].encoder);
}

// Why there is no figure, once for each reason; returns its number.
function reasonNumber(reasons, where, why) {
  const text = `${where}: ${why}.`;
  if (!reasons.includes(text)) reasons.push(text);
  return reasons.indexOf(text) + 1;
}

function figureCell(entry, metric, where, reasons) {
  const cell = element("td", "", { class: "number" });
  if (!entry) return cell;
  const [rate, quality] = entry;
  if (typeof rate === "string") {
    const short = /^no overlap/.test(rate) ? "no overlap" : "no figure";
    cell.append(element("span", short, { class: "none" }), element("sup", String(reasonNumber(reasons, where, rate))));
  } else {
    const verdict = Math.abs(rate.value) < data.level_percent ? "" : rate.value < 0 ? "saves" : "costs";
    cell.append(element("span", (verdict === "costs" ? "▲ " : "") + signed(rate.value, 1) + " %", { class: "cell " + verdict }));
  }
  if (typeof quality !== "string") cell.append(element("small", signed(quality.value, metric.digits) + (metric.unit && " " + metric.unit)));
  if (typeof rate !== "string") {
    const common = `${Math.round(100 * rate.overlap)} % common`;
    cell.append(element("small", rate.total > 1 && rate.overlap < 0.995 ? `≥ ${common}` : common));
    if (rate.movies < rate.total) cell.append(element("small", `${rate.movies} of ${rate.total} movies`));
  }
  return cell;
}

// Seconds for a second of video, and the ratio to the anchor's on the same movies.
function timeCell(key, movies, w, anchor) {
  const cell = element("td", "", { class: "number" });
  const both = movies.filter(m => data.curves[m][w] && data.curves[m][anchor]);
  const mean = way => both.reduce((sum, m) => sum + data.curves[m][way][key], 0) / both.reduce((sum, m) => sum + data.curves[m][way].video_s, 0);
  if (!both.length || !Number.isFinite(mean(w))) return cell;
  cell.append(element("span", `${mean(w).toPrecision(3)} s`));
  if (anchor !== w && mean(anchor) > 0) cell.append(element("small", `${(mean(w) / mean(anchor)).toPrecision(2)} ×`));
  return cell;
}

function tableRow(w, movies, title, kind, entries, reasons) {
  const anchor = anchorOf(w), row = element("tr", "", { class: kind });
  row.append(element("th", title, { scope: "row" }));
  data.metrics.forEach((metric, m) => {
    const where = `${data.ways[w].name}${kind === "movie" || data.movies.length === 1 ? ` on ${data.movies[movies[0]]}` : ""} by ${metric.label}`;
    row.append(figureCell(entries?.[m], metric, where, reasons));
  });
  row.append(timeCell("encode_s", movies, w, anchor), timeCell("decode_s", movies, w, anchor));
  return row;
}

function wayRows(w, reasons) {
  const way = data.ways[w], anchor = anchorOf(w), all = data.movies.map((_, m) => m).filter(m => data.curves[m][w]);
  const title = data.ways.filter(other => other.name === way.name).length > 1 && chosen.anchor !== null ? wayText(way) : way.name;
  if (anchor === w) return [tableRow(w, all, `compared with: ${title}`, "anchor", null, reasons)];
  const single = data.movies.length === 1;
  const rows = [tableRow(w, all, title, "mean", (single ? data.figures[0] : data.means)[anchor][w], reasons)];
  if (chosen.each && !single) for (const m of all) rows.push(tableRow(w, [m], data.movies[m], "movie", data.figures[m][anchor][w], reasons));
  return rows;
}

function drawTable() {
  const head = element("tr"), reasons = [];
  head.append(element("th", data.movies.length > 1 ? `Mean of ${data.movies.length} movies` : "Way", { scope: "col" }));
  for (const metric of data.metrics) head.append(element("th", metric.label, { scope: "col", class: "number" }));
  for (const label of ["Encode", "Decode"]) head.append(element("th", label, { scope: "col", class: "number" }));
  const body = element("tbody");
  data.ways.forEach((way, w) => { if (way.encoder === chosen.encoder || w === chosen.anchor) body.append(...wayRows(w, reasons)); });
  const top = element("thead");
  top.append(head);
  table.replaceChildren(top, body);
  document.getElementById("reasons").replaceChildren(...reasons.map(reason => element("li", reason)));
  document.querySelector('select[name="anchor"]').value = chosen.anchor ?? "";
  document.querySelector('input[name="each"]').checked = chosen.each;
}

if (table) {
  const anchors = document.querySelector('select[name="anchor"]');
  anchors.append(element("option", data.ways.some(way => way.full) ? "the full size, same encoder" : "the first way, same encoder", { value: "" }));
  data.ways.forEach((way, w) => anchors.append(element("option", wayText(way), { value: String(w) })));
  anchors.addEventListener("change", () => choose({ anchor: anchors.value === "" ? null : Number(anchors.value) }));
  const each = document.querySelector('input[name="each"]');
  each.addEventListener("change", () => choose({ each: each.checked }));
  redraws.push(drawTable);
}
