// Plays a playlist of HTTP Live Streaming (RFC 8216; on demand, fragmented MP4) through Media Source Extensions.

import {fetched, LATE_S} from './networks.js';

const AHEAD_S = 30, BEHIND_S = 20; // what is kept loaded
const EARLY_S = 0.1; // audio segments begin a little before or after those of the picture
const NEAR_S = 1e-3; // durations in a playlist are rounded
const FIRST_RATE = 3e6; // bit/s, until something is loaded
const FULL = 0.8; // of what the browser had room for ahead is loaded from then on

const Source = globalThis.ManagedMediaSource ?? globalThis.MediaSource;
export const canStream = Boolean(Source);

export function attributes(line) {
    const found = line.slice(line.indexOf(':') + 1).matchAll(/([A-Z0-9-]+)=(?:"([^"]*)"|([^,]*))/g);
    return Object.fromEntries([...found].map(([, name, quoted, bare]) => [name, quoted ?? bare]));
}

// The video renditions of a master playlist, best first, and its audio.
export function parseMaster(text, url) {
    const variants = [], sounds = [];
    let next = null;
    for (const line of text.split(/\r?\n/)) {
        if (line.startsWith('#EXT-X-STREAM-INF:')) next = attributes(line);
        else if (line.startsWith('#EXT-X-MEDIA:')) sounds.push(attributes(line));
        else if (line && !line.startsWith('#') && next) {
            const [width] = (next.RESOLUTION ?? '0x0').split('x').map(Number);
            const codecs = (next.CODECS ?? '').split(',');
            variants.push({uri: line, url: new URL(line, url), bandwidth: Number(next.BANDWIDTH), width, codecs, audio: next.AUDIO});
            next = null;
        }
    }
    if (!variants.length) throw new Error(`${url} is no master playlist`);
    return {variants: variants.sort((a, b) => b.bandwidth - a.bandwidth), sounds};
}

// Segments of a media playlist: {url, init, start, end}, s from the first segment's beginning.
export function parseMedia(text, url) {
    const segments = [];
    let init = null, seconds = 0, start = 0;
    for (const line of text.split(/\r?\n/)) {
        if (line.startsWith('#EXT-X-MAP:')) init = new URL(attributes(line).URI, url).href;
        else if (line.startsWith('#EXTINF:')) seconds = parseFloat(line.slice(8));
        else if (/^#EXT-X-(BYTERANGE|KEY|DISCONTINUITY)/.test(line)) throw new Error(`${url}: ${line} cannot be played here`);
        else if (line && !line.startsWith('#')) {
            segments.push({url: new URL(line, url).href, init, start, end: start + seconds});
            start += seconds;
        }
    }
    if (!segments.length || !segments[0].init) throw new Error(`${url} has no segments of fragmented MP4`);
    return segments;
}

// Index of the segment that holds a time.
export function indexAt(segments, time) {
    return Math.max(0, segments.findLastIndex(({start}) => start <= time + NEAR_S));
}

// One source buffer and what is to be in it.
class Track {
    // Args: lists: renditions with their segments; kind: "audio" or "video".
    constructor(stream, lists, kind, codec) {
        this.stream = stream;
        this.lists = lists;
        this.isVideo = kind === 'video';
        this.held = new Map(); // rendition of each segment that was appended
        this.init = null;
        this.ahead = AHEAD_S;
        this.loading = null; // index of the segment, and what ends its download
        this.filling = false;
        this.isDoubtful = false; // the browser may have thrown away what lies at the present time
        const type = `${kind}/mp4; codecs="${codec}"`;
        if (!Source.isTypeSupported(type)) throw new Error(`this browser cannot play ${codec}`);
        this.buffer = stream.source.addSourceBuffer(type);
    }

    get segments() {
        return this.lists[0].segments;
    }

    get isComplete() {
        const first = indexAt(this.segments, this.stream.time);
        return this.segments.every((_, index) => index < first || this.held.has(index));
    }

    get isBuffered() {
        const {buffered} = this.buffer, time = this.stream.video.currentTime;
        return Array.from({length: buffered.length}, (_, n) => n).some((n) => buffered.start(n) <= time && time < buffered.end(n));
    }

    // Loads until enough lies ahead.
    async fill() {
        if (this.filling) return;
        this.filling = true;
        try {
            for (let index = this.next(); index !== null; index = this.next()) {
                const abort = new AbortController();
                this.loading = {index, abort};
                await this.load(index, abort.signal).catch((error) => { if (!abort.signal.aborted) throw error; });
            }
            this.stream.finish();
        } catch (error) {
            this.stream.fail(error);
        } finally {
            this.loading = null;
            this.filling = false;
        }
    }

    // After a seek: a segment that is not needed there is not waited for.
    reconsider() {
        this.isDoubtful = true;
        if (this.loading && !this.isWanted(this.loading.index)) this.loading.abort.abort();
    }

    isWanted(index) {
        const {time} = this.stream;
        return index >= indexAt(this.segments, time - EARLY_S) && this.segments[index].start <= time + this.ahead;
    }

    next() {
        if (this.stream.isClosed) return null;
        const time = this.stream.time;
        if (this.isDoubtful && !this.isBuffered) this.held.delete(indexAt(this.segments, time));
        this.isDoubtful = false;
        let index = indexAt(this.segments, time - EARLY_S);
        while (this.held.has(index)) ++index;
        return index < this.segments.length && this.isWanted(index) ? index : null;
    }

    async load(index, signal) {
        const {stream} = this;
        const list = this.isVideo ? stream.choose(this.lists) : this.lists[0];
        const segment = list.segments[index];
        if (this.isVideo) await stream.ready(list.uri, segment.start + stream.start, segment.end + stream.start);
        const parts = [];
        if (segment.init !== this.init) parts.push(await (await fetched(segment.init, {signal})).arrayBuffer());
        const started = performance.now();
        parts.push(await (await fetched(segment.url, {signal})).arrayBuffer());
        stream.measured(8 * parts.at(-1).byteLength, (performance.now() - started) / 1000);
        this.held.set(index, list);
        for (const part of parts) {
            if (stream.isClosed) return;
            if (await this.append(part, segment)) continue;
            this.held.delete(index);
            if (this.isWanted(index)) this.ahead = FULL * (segment.start - stream.time);
            if (this.ahead <= 0) throw new Error('the browser has no room for the next segment');
            return;
        }
        this.init = segment.init;
        if (this.isVideo) stream.enter();
        await this.keep(stream.time - BEHIND_S);
    }

    // Appends data of a segment; where there is no room for it, what is before the present time or after the segment is
    // removed first. Returns whether there is room.
    async append(data, {end}) {
        for (const isLast of [false, true]) {
            try {
                this.buffer.appendBuffer(data);
                await this.idle();
                return true;
            } catch (error) {
                if (error.name !== 'QuotaExceededError') throw error;
                if (!isLast) await this.keep(this.stream.time - EARLY_S, end);
            }
        }
        return false;
    }

    // Removes the segments that end before a time, or begin at another or later.
    async keep(from, to = Infinity) {
        const {segments, held} = this, {start} = this.stream, first = indexAt(segments, from);
        const isLate = (index) => segments[index].start > to - NEAR_S;
        const isEarly = (index) => index < first;
        for (const [isGone, begin, end] of [[isEarly, 0, start + segments[first].start], [isLate, start + to, Infinity]]) {
            const gone = [...held.keys()].filter(isGone);
            if (this.stream.isClosed || !gone.length) continue;
            this.buffer.remove(begin, end);
            await this.idle();
            for (const index of gone) held.delete(index);
        }
    }

    async updated() {
        if (this.buffer.updating) await new Promise((done) => this.buffer.addEventListener('updateend', done, {once: true}));
    }

    async idle() {
        await this.updated();
        if (this.stream.video.error) throw new Error(this.stream.video.error.message || 'the file cannot be played');
    }
}

export class Stream {
    // Args: start: time of the first picture, s; rendition: number from 1, null for any; width: of the picture on the
    // screen; ready: called with a rendition and times before its pictures are appended; failed: gets an Error.
    constructor(video, {start, rendition, width, ready, failed}) {
        Object.assign(this, {video, start, rendition, width, ready, failed});
        this.isClosed = false;
        this.rate = navigator.connection?.downlink ? 1e6 * navigator.connection.downlink : FIRST_RATE;
        this.tracks = [];
    }

    async open(url) {
        const text = async (at) => (await fetched(at)).text();
        const {variants, sounds} = parseMaster(await text(url), url);
        for (const variant of variants) variant.segments = parseMedia(await text(variant.url), variant.url);
        // A switch is at the beginning of a segment, which must be the same moment in all.
        const lists = variants.filter(({segments}) => segments.length === variants[0].segments.length
            && segments.every(({start}, index) => Math.abs(start - variants[0].segments[index].start) < NEAR_S));
        const heard = sounds.filter(({TYPE}) => TYPE === 'AUDIO');
        const sound = heard.find((one) => one.DEFAULT === 'YES') ?? heard[0];
        const audio = sound?.URI ? [{segments: parseMedia(await text(new URL(sound.URI, url)), new URL(sound.URI, url))}] : null;
        if (this.isClosed) return;
        this.source = new Source();
        this.video.disableRemotePlayback = true; // else a managed source does not open
        this.video.src = this.address = URL.createObjectURL(this.source);
        await new Promise((done) => this.source.addEventListener('sourceopen', done, {once: true}));
        if (this.isClosed) return;
        const isSound = (codec) => /^(mp4a|ac-3|ec-3|opus|fLaC)/i.test(codec);
        const codecs = lists.map((list) => list.codecs.find((codec) => !isSound(codec)));
        this.tracks = [new Track(this, lists, 'video', codecs[0])];
        if (audio) this.tracks.push(new Track(this, audio, 'audio', lists[0].codecs.find(isSound)));
        this.source.duration = this.start + Math.max(...this.tracks.map(({segments}) => segments.at(-1).end));
        this.fill = () => { for (const track of this.tracks) track.fill(); };
        this.check = () => {
            this.enter();
            for (const track of this.tracks) track.reconsider();
            this.fill();
        };
        this.video.addEventListener('timeupdate', this.fill);
        for (const name of ['seeking', 'waiting']) this.video.addEventListener(name, this.check);
        this.fill();
    }

    // s from the beginning of the first segment.
    get time() {
        return Math.max(0, this.video.currentTime - this.start);
    }

    // Before the first picture there is nothing to show, and a browser would wait for it.
    enter() {
        if (this.video.currentTime < this.start - NEAR_S) this.video.currentTime = this.start;
    }

    // The rendition that the picture of a time is from; null if that is not certain. Args: late: as for `Networks.at`.
    renditionAt(time, late) {
        const [track] = this.tracks;
        if (!track || time === null) return null;
        const at = (moment) => track.held.get(indexAt(track.segments, moment - this.start))?.uri ?? null;
        return late && at(time) !== at(time + LATE_S) ? null : at(time);
    }

    // The best rendition that loads fast enough, and is not larger than the screen needs.
    choose(lists) {
        if (this.rendition) return lists[Math.min(this.rendition, lists.length) - 1];
        const width = this.width();
        const fitting = lists.filter((list) => !lists.some((other) => width <= other.width && other.width < list.width));
        return fitting.find(({bandwidth}) => bandwidth < 0.8 * this.rate) ?? lists.at(-1);
    }

    measured(bits, seconds) {
        if (bits > 1e5) this.rate += 0.3 * (bits / Math.max(seconds, 1e-3) - this.rate);
    }

    finish() {
        const {source, tracks} = this;
        if (this.isClosed || source.readyState !== 'open' || tracks.some((track) => !track.isComplete || track.buffer.updating)) return;
        source.endOfStream();
    }

    async fail(error) {
        if (this.isClosed) return;
        this.close();
        this.failed(error);
        await Promise.all(this.tracks.map((track) => track.updated()));
        if (this.source.readyState === 'open') this.source.endOfStream('network');
    }

    close() {
        this.isClosed = true;
        for (const track of this.tracks) track.loading?.abort.abort();
        this.video.removeEventListener('timeupdate', this.fill);
        for (const name of ['seeking', 'waiting']) this.video.removeEventListener(name, this.check);
        if (this.address) URL.revokeObjectURL(this.address);
    }
}
