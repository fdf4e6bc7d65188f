// What <vidscale-video> consists of, and its style sheet.

export const STYLE = `
:host { display: block; position: relative; background: #000; color: #fff; font: 14px system-ui, sans-serif; }
:host(:fullscreen) { display: flex; align-items: center; justify-content: center; }
.stage { position: relative; overflow: hidden; width: 100%; margin: auto; container-type: inline-size; }
:host(:fullscreen) .stage { width: min(100vw, 100vh * var(--aspect)); }
video, canvas { position: absolute; left: 0; top: 0; width: 100%; height: 100%; }
video { width: var(--padded-width); height: var(--padded-height); object-fit: fill; }
canvas { visibility: hidden; }
.restoring canvas { visibility: visible; }
.note { position: absolute; left: 0; right: 0; top: 0; padding: 8px 12px; background: #7c2d12; }
.note:empty, .line[hidden] { display: none; }
.line { position: absolute; top: 0; bottom: 0; width: 2px; margin-left: -1px; background: #fff; pointer-events: none; }
.bar { position: absolute; left: 0; right: 0; bottom: 0; display: flex; flex-wrap: wrap; gap: 4px 10px; padding: 6px 12px; max-height: 100%;
    box-sizing: border-box; overflow: hidden; align-items: center; background: #000b; opacity: 0; transition: opacity .2s; }
:host(:hover) .bar, :host(:focus-within) .bar, .paused .bar { opacity: 1; }
.bar button { background: none; border: 0; color: inherit; font: inherit; padding: 4px 6px; cursor: pointer; }
.bar button:focus-visible, .bar input:focus-visible { outline: 2px solid #fff; }
.bar label { display: flex; gap: 6px; align-items: center; }
.bar .seek { flex: 1 1 100%; margin: 0; }
.bar .volume, .bar .split { width: 80px; }
.bar .state { margin-left: auto; opacity: .8; font-size: 12px; }
@container (max-width: 560px) {
    .bar { padding: 4px 8px; gap: 0 4px; font-size: 12px; }
    .bar .volume { display: none; }
    .bar .split { width: 60px; }
    .bar .state { order: 1; flex: 1 1 100%; margin: 0 6px; }
}
`;

export const PARTS = `
<div class="stage paused">
  <video playsinline crossorigin="anonymous"></video>
  <canvas></canvas>
  <div class="line" hidden></div>
  <div class="note" role="status"></div>
  <div class="bar">
    <input class="seek" type="range" min="0" max="1" step="any" value="0" aria-label="Seek">
    <button class="play" aria-label="Play or pause">Play</button>
    <span class="time">0:00</span>
    <button class="mute" aria-label="Mute">Mute</button>
    <input class="volume" type="range" min="0" max="1" step="any" value="1" aria-label="Volume">
    <label>Restored <input class="split" type="range" min="0" max="1" step="any" value="1"> plain</label>
    <span class="state"></span>
    <button class="full" aria-label="Full screen">Full screen</button>
  </div>
</div>`;
