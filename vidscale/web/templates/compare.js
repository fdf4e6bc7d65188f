const data = JSON.parse(document.getElementById("comparison").textContent);
const chosen = { metric: 0, encoder: 0, movie: 0, anchor: null, each: false };
const redraws = [];

const candidateText = candidate => `${candidate.name}, ${data.encoders[candidate.encoder]}`;
const names = {
  metric: data.metrics.map(metric => metric.key), encoder: data.encoders, movie: data.movies, anchor: data.candidates.map(candidateText),
};

// The selection is in the hash of the URL, by name, so that a view can be linked.
function readHash() {
  const params = new URLSearchParams(location.hash.slice(1));
  for (const [key, list] of Object.entries(names)) {
    const found = list.indexOf(params.get(key));
    chosen[key] = found >= 0 ? found : key === "anchor" ? null : 0;
  }
  chosen.each = params.has("each");
}

function writeHash() {
  const params = new URLSearchParams();
  for (const [key, list] of Object.entries(names)) {
    if (chosen[key] !== null && (chosen[key] > 0 || key === "anchor")) params.set(key, list[chosen[key]]);
  }
  if (chosen.each) params.set("each", "");
  history.replaceState(null, "", "#" + params);
}

function choose(changes) {
  Object.assign(chosen, changes);
  writeHash();
  show();
}

function show() {
  for (const name of ["metric", "encoder"]) {
    const radio = document.querySelector(`input[name="${name}"][value="${chosen[name]}"]`);
    if (radio) radio.checked = true;
  }
  const movie = document.querySelector('select[name="movie"]');
  if (movie) movie.value = chosen.movie;
  for (const redraw of redraws) redraw();
}

for (const name of ["metric", "encoder", "movie"]) {
  for (const control of document.querySelectorAll(`[name="${name}"]`)) {
    control.addEventListener("change", () => choose({ [name]: Number(control.value) }));
  }
}
addEventListener("hashchange", () => { readHash(); show(); });

function element(tag, text = "", attributes = {}) {
  const made = document.createElement(tag);
  if (text) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

const rateText = kbps => kbps < 999.5 ? `${Number(kbps.toPrecision(3))} kbit/s` : `${Number((kbps / 1000).toPrecision(3))} Mbit/s`;
function signed(value, digits) {
  const size = Math.abs(value).toFixed(digits);
  return (Number(size) === 0 ? "" : value < 0 ? "−" : "+") + size;
}
