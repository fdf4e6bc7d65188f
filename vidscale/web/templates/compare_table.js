const table = document.getElementById("table");

// The anchor of a candidate: the chosen one, or the first candidate of its encoder, the full size if it was encoded.
function anchorOf(c) {
  return chosen.anchor ?? data.candidates.findIndex(candidate => candidate.encoder === data.candidates[c].encoder);
}

// Footnotes on missing figures, each reason once; returns the number of the note.
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
    const overlap = `${Math.round(100 * rate.overlap)} % overlap`;
    cell.append(element("small", rate.total > 1 && rate.overlap < 0.995 ? `≥ ${overlap}` : overlap));
    if (rate.movies < rate.total) cell.append(element("small", `${rate.movies} of ${rate.total} movies`));
  }
  return cell;
}

// Seconds per second of video, and the ratio to the anchor's on the same movies.
function timeCell(key, movies, c, anchor) {
  const cell = element("td", "", { class: "number" });
  const both = movies.filter(m => data.curves[m][c] && data.curves[m][anchor]);
  const mean = candidate => both.reduce((sum, m) => sum + data.curves[m][candidate][key], 0) / both.reduce((sum, m) => sum + data.curves[m][candidate].video_s, 0);
  if (!both.length || !Number.isFinite(mean(c))) return cell;
  cell.append(element("span", `${mean(c).toPrecision(3)} s`));
  if (anchor !== c && mean(anchor) > 0) cell.append(element("small", `${(mean(c) / mean(anchor)).toPrecision(2)} ×`));
  return cell;
}

function tableRow(c, movies, title, kind, entries, reasons) {
  const anchor = anchorOf(c), row = element("tr", "", { class: kind });
  row.append(element("th", title, { scope: "row" }));
  data.metrics.forEach((metric, m) => {
    const where = `${data.candidates[c].name}${kind === "movie" || data.movies.length === 1 ? ` on ${data.movies[movies[0]]}` : ""} by ${metric.label}`;
    row.append(figureCell(entries?.[m], metric, where, reasons));
  });
  row.append(timeCell("encode_s", movies, c, anchor), timeCell("decode_s", movies, c, anchor));
  return row;
}

function candidateRows(c, reasons) {
  const candidate = data.candidates[c], anchor = anchorOf(c), all = data.movies.map((_, m) => m).filter(m => data.curves[m][c]);
  const title = data.candidates.filter(other => other.name === candidate.name).length > 1 && chosen.anchor !== null ? candidateText(candidate) : candidate.name;
  if (anchor === c) return [tableRow(c, all, `anchor: ${title}`, "anchor", null, reasons)];
  const single = data.movies.length === 1;
  const rows = [tableRow(c, all, title, "mean", (single ? data.figures[0] : data.means)[anchor][c], reasons)];
  if (chosen.each && !single) for (const m of all) rows.push(tableRow(c, [m], data.movies[m], "movie", data.figures[m][anchor][c], reasons));
  return rows;
}

function drawTable() {
  const head = element("tr"), reasons = [];
  head.append(element("th", data.movies.length > 1 ? `Mean of ${data.movies.length} movies` : "Candidate", { scope: "col" }));
  for (const metric of data.metrics) head.append(element("th", metric.label, { scope: "col", class: "number" }));
  for (const label of ["Encode", "Decode"]) head.append(element("th", label, { scope: "col", class: "number" }));
  const body = element("tbody");
  data.candidates.forEach((candidate, c) => { if (candidate.encoder === chosen.encoder || c === chosen.anchor) body.append(...candidateRows(c, reasons)); });
  const top = element("thead");
  top.append(head);
  table.replaceChildren(top, body);
  document.getElementById("reasons").replaceChildren(...reasons.map(reason => element("li", reason)));
  document.querySelector('select[name="anchor"]').value = chosen.anchor ?? "";
  document.querySelector('input[name="each"]').checked = chosen.each;
}

if (table) {
  const anchors = document.querySelector('select[name="anchor"]');
  anchors.append(element("option", data.candidates.some(candidate => candidate.full) ? "the full size, same encoder" : "the first candidate, same encoder", { value: "" }));
  data.candidates.forEach((candidate, c) => anchors.append(element("option", candidateText(candidate), { value: String(c) })));
  anchors.addEventListener("change", () => choose({ anchor: anchors.value === "" ? null : Number(anchors.value) }));
  const each = document.querySelector('input[name="each"]');
  each.addEventListener("change", () => choose({ each: each.checked }));
  redraws.push(drawTable);
}
