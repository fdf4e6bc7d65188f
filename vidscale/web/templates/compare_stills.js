const stills = document.getElementById("stills");
if (stills) {
  const frames = JSON.parse(document.getElementById("frames").textContent);
  const find = selector => stills.querySelector(selector);
  const view = find(".view"), pair = find(".pair"), handle = find(".handle"), split = find('input[name="split"]');
  const sides = { left: find('select[name="left"]'), right: find('select[name="right"]') };
  const frameChoice = find('select[name="frame"]');
  let frame = null;

  // The left still lies over the right one, clipped at the handle; when zoomed, the stills scroll under the handle.
  function place() {
    const at = split.value / 100 * view.clientWidth;
    handle.style.left = `${at}px`;
    const cut = 100 * (at + view.scrollLeft) / pair.clientWidth;
    find("img.left").style.clipPath = `inset(0 ${Math.max(0, 100 - cut)}% 0 0)`;
  }

  function showSides() {
    for (const [side, choice] of Object.entries(sides)) {
      const picture = frame.pictures[choice.value], image = find(`img.${side}`), other = frame.pictures[sides[side === "left" ? "right" : "left"].value];
      image.src = picture.src;
      image.width = frame.width;
      image.height = frame.height;
      image.alt = `${picture.name}, ${data.movies[frame.movie]} at ${frame.time}`;
      const facts = document.getElementById(`${side}-facts`), more = picture.kbps && other.kbps ? 100 * (picture.kbps / other.kbps - 1) : 0;
      const differs = side === "right" && Math.abs(more) >= 0.5 ? `, ${signed(more, 0)} % of bits` : "";
      facts.replaceChildren(element("strong", `${side === "left" ? "Left" : "Right"}: ${picture.name}`), element("small", picture.facts + differs));
    }
    place();
  }

  // The initial right still: the best candidate of the chosen encoder on this movie by the chosen metric.
  function bestPicture(full) {
    const rated = frame.pictures.map((picture, p) => {
      const rate = full !== null && picture.candidate !== null && picture.candidate !== full ? data.figures[frame.movie][full][picture.candidate]?.[chosen.metric][0] : null;
      return [rate?.value ?? Infinity, p];
    }).filter(([, p]) => frame.pictures[p].candidate === null || data.candidates[frame.pictures[p].candidate].encoder === chosen.encoder);
    rated.sort((one, other) => one[0] - other[0]);
    return rated.length && rated[0][0] < Infinity ? rated[0][1] : frame.pictures.length - 1;
  }

  function showFrame(number) {
    frame = frames[number];
    frameChoice.value = number;
    document.getElementById("caption").textContent = frame.caption;
    view.style.aspectRatio = `${frame.width} / ${frame.height}`;
    for (const choice of Object.values(sides)) choice.replaceChildren(...frame.pictures.map((picture, p) => element("option", picture.name, { value: String(p) })));
    const left = frame.pictures.findIndex(picture => picture.candidate !== null && data.candidates[picture.candidate].full && data.candidates[picture.candidate].encoder === chosen.encoder);
    sides.left.value = Math.max(0, left);
    sides.right.value = bestPicture(left < 0 ? null : frame.pictures[left].candidate);
    zoom();
    showSides();
  }

  function zoom() {
    const factor = [0, 1, 2, 4, 8][find('input[name="zoom"]:checked').value];
    const across = pair.clientWidth ? (view.scrollLeft + view.clientWidth / 2) / pair.clientWidth : 0.5;
    const down = pair.clientHeight ? (view.scrollTop + view.clientHeight / 2) / pair.clientHeight : 0.5;
    pair.classList.toggle("zoomed", factor > 0);
    pair.style.width = factor ? `${factor * frame.width}px` : "";
    view.scrollLeft = across * pair.clientWidth - view.clientWidth / 2;
    view.scrollTop = down * pair.clientHeight - view.clientHeight / 2;
    place();
  }

  // Drag the handle to move the split; drag a zoomed still to scroll.
  function dragged(target, move) {
    target.addEventListener("pointerdown", event => {
      if (event.button !== 0 || (target === view && event.pointerType !== "mouse")) return;
      event.preventDefault();
      target.setPointerCapture(event.pointerId);
      let last = event;
      const moved = next => { move(next, last); last = next; };
      target.addEventListener("pointermove", moved);
      target.addEventListener("lostpointercapture", () => target.removeEventListener("pointermove", moved), { once: true });
    });
  }
  dragged(handle, event => { split.value = 100 * (event.clientX - view.getBoundingClientRect().left) / view.clientWidth; place(); });
  dragged(view, (event, last) => { view.scrollLeft -= event.clientX - last.clientX; view.scrollTop -= event.clientY - last.clientY; });

  split.addEventListener("input", place);
  view.addEventListener("scroll", place);
  new ResizeObserver(place).observe(view);
  for (const choice of Object.values(sides)) choice.addEventListener("change", showSides);
  find('button[name="swap"]').addEventListener("click", () => {
    [sides.left.value, sides.right.value] = [sides.right.value, sides.left.value];
    showSides();
  });
  for (const choice of stills.querySelectorAll('input[name="zoom"]')) choice.addEventListener("change", zoom);
  frameChoice.addEventListener("change", () => showFrame(Number(frameChoice.value)));
  let shownFor = "";
  redraws.push(() => {
    const wanted = `${chosen.movie} ${chosen.encoder}`, number = frames.findIndex(one => one.movie === chosen.movie);
    if (wanted !== shownFor && (number >= 0 || !frame)) showFrame(Math.max(0, number));
    shownFor = wanted;
  });
}
readHash();
show();
