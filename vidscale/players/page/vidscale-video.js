// <vidscale-video src="movie.vs2.mp4">: plays a small file or a playlist of small files restored. Attributes:
//   src       the small file, or the playlist (.m3u8)
//   restore   what `vidscale web` wrote beside it; default: src with the ending .json
//   rendition of a playlist, from 1, the best; default: as the connection and the size on the screen allow
//   poster, autoplay, loop, muted   as of <video>
//   split     0 to 1: the part of the width, from the left, that is restored; default 1

import {PARTS, STYLE} from './markup.js';
import {loadInfo, Networks} from './networks.js';

const SEEK_S = 5;

class VidscaleVideo extends HTMLElement {
    static observedAttributes = ['src', 'restore', 'rendition', 'split', 'poster', 'autoplay', 'loop', 'muted'];

    constructor() {
        super();
        const root = this.attachShadow({mode: 'open'});
        const sheet = new CSSStyleSheet();
        sheet.replaceSync(STYLE);
        root.adoptedStyleSheets = [sheet];
        root.innerHTML = PARTS;
        for (const name of ['stage', 'note', 'line', 'seek', 'play', 'time', 'mute', 'volume', 'split', 'state', 'full']) {
            this[`${name}Part`] = root.querySelector(`.${name}`);
        }
        this.video = root.querySelector('video');
        this.canvas = root.querySelector('canvas');
        this.networks = null; // of the movie
        this.stream = null; // of a playlist that the page loads itself
        this.restorer = null; // of the picture that is shown
        this.info = null;
        this.seenAt = null; // time of the picture, s
        this.loads = 0;
        this.turns = 0;
        this.shown = []; // times of the last pictures, ms
        this.listen();
    }

    connectedCallback() {
        if (!this.hasAttribute('tabindex')) this.tabIndex = 0;
        this.follow();
    }

    attributeChangedCallback(name, before, value) {
        if (before === value) return;
        if (name === 'src' || name === 'restore' || name === 'rendition') this.load();
        else if (name === 'split') this.setSplit(Number(value ?? 1));
        else if (name === 'poster') this.video.poster = value ?? '';
        else this.video[name] = value !== null;
    }

    // Loads the file; resolves when its first picture is there, or the reason why it is not is shown.
    load() {
        const load = ++this.loads;
        this.ready = Promise.resolve().then(() => load === this.loads && this.start(load)).catch((error) => {
            if (load === this.loads) this.plain(error.message);
        });
        return this.ready;
    }

    async start(load) {
        const source = this.getAttribute('src');
        if (!source) return;
        const address = new URL(source, document.baseURI);
        const restore = this.getAttribute('restore');
        const described = restore ? new URL(restore, document.baseURI) : new URL(`${address.href.replace(/\.[^./]*$/, '')}.json`);
        this.restorer = this.networks = this.info = null;
        this.stream?.close();
        this.stream = null;
        this.stagePart.classList.remove('restoring');
        const isPlaylist = address.pathname.endsWith('.m3u8');
        if (!isPlaylist) this.video.src = address;
        let networks = null, failure = null;
        try {
            const info = await loadInfo(described);
            if (load !== this.loads) return;
            this.info = {...info, ...info.networks[0]};
            networks = new Networks(this.canvas, info, described);
            this.fit();
        } catch (error) {
            failure = error;
        }
        if (load !== this.loads) return;
        if (isPlaylist) await this.open(address, networks, load);
        else await networks?.ready('');
        if (load !== this.loads) return;
        if (this.video.error) throw this.unplayable();
        if (failure) throw failure;
        this.networks = networks;
        if (this.video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) {
            await new Promise((done) => {
                this.video.addEventListener('loadeddata', done, {once: true});
                this.video.addEventListener('error', done, {once: true});
            });
        }
        this.draw();
    }

    // A playlist: what is loaded is restored with what is known of it. A browser that plays it by itself does not say
    // which rendition it shows, so that is the second choice.
    async open(address, networks, load) {
        const {canStream, Stream} = await import('./stream.js');
        if (load !== this.loads) return;
        if (!canStream) {
            await networks?.ready(null);
            this.video.src = address;
            return;
        }
        this.stream = new Stream(this.video, {
            start: this.info?.start ?? 0,
            rendition: Number(this.getAttribute('rendition') ?? 0),
            width: () => this.clientWidth * devicePixelRatio,
            ready: async (...part) => networks?.ready(...part).catch((error) => {
                if (load === this.loads) this.plain(error.message);
            }),
            failed: (error) => this.plain(error.message),
        });
        await this.stream.open(address);
    }

    // The true size: the video element is larger than the stage by the padding, which is cut off.
    fit() {
        const {width, height, coded_width, coded_height, small, large, aspect} = this.info;
        this.style.setProperty('--aspect', aspect);
        this.style.setProperty('--padded-width', `${100 * coded_width * large / small / width}%`);
        this.style.setProperty('--padded-height', `${100 * coded_height * large / small / height}%`);
        this.stagePart.style.aspectRatio = aspect;
    }

    // Plays without restoring, and says why.
    plain(reason) {
        this.restorer = this.networks = null;
        this.stagePart.classList.remove('restoring');
        this.notePart.textContent = `Not restored: ${reason}`;
        this.describe();
    }

    unplayable() {
        return new Error(`this browser cannot play ${this.info ? `${this.info.codec} in this file` : 'the file'}`);
    }

    follow() {
        const turn = ++this.turns; // a player that is moved in the page would be followed twice
        const next = (now, about) => {
            if (!this.isConnected || turn !== this.turns) return;
            this.shown.push(performance.now());
            if (this.shown.length > 30) this.shown.shift();
            this.draw(about?.mediaTime);
            this.wait(next);
        };
        this.wait(next);
    }

    wait(next) {
        if (this.video.requestVideoFrameCallback) this.video.requestVideoFrameCallback(next);
        else requestAnimationFrame(next);
    }

    // Draws the present picture. Args: mediaTime: of the last picture that the browser has told, s.
    draw(mediaTime) {
        const {video, networks} = this;
        if (mediaTime !== undefined) this.seenAt = mediaTime;
        if (networks && video.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA && !networks.gl.isContextLost()) {
            const {picture, ...about} = this.present(networks.needsFrames);
            const rendition = this.stream ? this.stream.renditionAt(about.time, about.late) : null;
            const found = networks.at({...about, rendition});
            try {
                if (found) this.restore(picture, found);
                else this.pass(about);
            } finally {
                if (picture !== video) picture.close();
            }
        }
        this.describe();
    }

    // The present picture, its size and its time, s. A VideoFrame has its own time; what a video element hands out may
    // be newer than the picture it has told of, if the page is late.
    present(asFrame) {
        const {video} = this;
        if (asFrame && globalThis.VideoFrame) {
            try {
                const picture = new VideoFrame(video);
                const {width, height} = picture.visibleRect;
                return {picture, width, height, time: picture.timestamp / 1e6, late: false};
            } catch {} // it has no picture at the moment
        }
        return {picture: video, width: video.videoWidth, height: video.videoHeight, time: this.seenAt, late: !video.paused};
    }

    restore(picture, found) {
        if (this.info !== found.network) {
            this.info = found.network;
            this.fit();
        }
        this.segment = found.segment;
        this.restorer = this.networks.draw(picture, found, Number(this.splitPart.value));
        this.stagePart.classList.add('restoring');
        this.notePart.textContent = '';
    }

    // Shows a picture for which no network is certain as it is.
    pass({width, height}) {
        const {networks: [network], renditions} = this.networks.info;
        if (this.networks.networks.length === 1 && Object.keys(renditions).length === 1) {
            this.plain(`the pictures are ${width}x${height}, the network is for ${network.coded_width}x${network.coded_height}`);
            return;
        }
        this.restorer = null;
        this.stagePart.classList.remove('restoring');
    }

    describe() {
        const {video, info} = this;
        const seconds = (time) => `${Math.floor(time / 60)}:${String(Math.floor(time % 60)).padStart(2, '0')}`;
        this.timePart.textContent = `${seconds(video.currentTime)} / ${seconds(video.duration || 0)}`;
        if (document.activeElement !== this || this.shadowRoot.activeElement !== this.seekPart) {
            this.seekPart.value = video.duration ? video.currentTime / video.duration : 0;
        }
        this.playPart.textContent = video.paused ? 'Play' : 'Pause';
        this.mutePart.textContent = video.muted ? 'Unmute' : 'Mute';
        this.stagePart.classList.toggle('paused', video.paused);
        if (!info) return;
        const size = `${info.width}x${info.height}`, from = `${info.coded_width}x${info.coded_height}`;
        const words = [this.restorer?.passes.length ? `restored ${size} from ${from}` : `plain, ${from}`];
        const span = this.shown.at(-1) - this.shown[0];
        if (!video.paused && span > 0) words.push(`${(1000 * (this.shown.length - 1) / span).toFixed(1)} frames/s`);
        const quality = video.getVideoPlaybackQuality?.();
        if (quality) words.push(`${quality.droppedVideoFrames} dropped`);
        this.statePart.textContent = words.join(', ');
    }

    setSplit(value) {
        this.splitPart.value = value;
        this.linePart.hidden = !(value > 0 && value < 1);
        this.linePart.style.left = `${100 * value}%`;
        this.draw();
    }

    listen() {
        const {video, canvas} = this;
        this.playPart.onclick = () => this.toggle();
        canvas.onclick = () => this.toggle();
        this.mutePart.onclick = () => { video.muted = !video.muted; };
        this.fullPart.onclick = () => this.full();
        this.volumePart.oninput = () => { video.volume = this.volumePart.value; };
        this.seekPart.oninput = () => { video.currentTime = this.seekPart.value * (video.duration || 0); };
        this.splitPart.oninput = () => this.setSplit(Number(this.splitPart.value));
        video.addEventListener('seeking', () => { this.seenAt = null; });
        for (const name of ['seeked', 'loadeddata', 'resize']) video.addEventListener(name, () => this.draw());
        for (const name of ['play', 'pause', 'timeupdate', 'volumechange']) {
            video.addEventListener(name, () => this.describe());
        }
        video.addEventListener('pause', () => { this.shown = []; });
        video.addEventListener('error', () => {
            if (!this.stream?.isClosed) this.plain(this.unplayable().message); // a stream that failed has said why
        });
        canvas.addEventListener('webglcontextlost', (event) => {
            event.preventDefault(); // so that it comes back
            this.stagePart.classList.remove('restoring');
        });
        canvas.addEventListener('webglcontextrestored', () => {
            try {
                this.networks?.renew();
                this.draw();
            } catch (error) {
                this.plain(error.message);
            }
        });
        this.addEventListener('keydown', (event) => this.key(event));
    }

    toggle() {
        if (this.video.paused) this.video.play().catch((error) => { this.notePart.textContent = error.message; });
        else this.video.pause();
    }

    full() {
        if (document.fullscreenElement) document.exitFullscreen();
        else this.requestFullscreen?.();
    }

    key(event) {
        if (event.ctrlKey || event.altKey || event.metaKey) return;
        const {video} = this;
        const onControl = event.composedPath()[0] !== this; // which has keys of its own
        const jump = (by) => { video.currentTime = Math.max(0, Math.min(video.duration || 0, video.currentTime + by)); };
        const louder = (by) => { this.volumePart.value = video.volume = Math.max(0, Math.min(1, video.volume + by)); };
        const actions = {
            k: () => this.toggle(), m: () => { video.muted = !video.muted; }, f: () => this.full(),
            c: () => this.setSplit(Number(this.splitPart.value) === 1 ? 0.5 : 1),
            ...(onControl ? {} : {
                ' ': () => this.toggle(), ArrowLeft: () => jump(-SEEK_S), ArrowRight: () => jump(SEEK_S),
                ArrowUp: () => louder(0.1), ArrowDown: () => louder(-0.1),
            }),
        };
        if (!actions[event.key]) return;
        event.preventDefault();
        actions[event.key]();
    }
}

customElements.define('vidscale-video', VidscaleVideo);
