// Which network restores a picture, and with which numbers: by what it is a picture of, its time and its size.

import {contextOf, Restorer} from './restorer.js';

const VERSION = 2;
const NEAR_S = 5e-4; // timestamps are rounded
export const LATE_S = 0.2; // a picture may be so much newer than the time that the browser names

export async function fetched(url, options) {
    const response = await fetch(url, options);
    if (!response.ok) throw new Error(`${url}: ${response.status} ${response.statusText}`);
    return response;
}

// What `vidscale web` wrote of a movie: sizes, colours, networks, and which of them is for which part of it.
export async function loadInfo(url) {
    const info = await (await fetched(url)).json();
    if (info.vidscale_player !== VERSION) throw new Error(`${url} is of another version of vidscale`);
    return info;
}

// float16 to float32, for browsers without Float16Array.
function halves(bytes) {
    return Float32Array.from(new Uint16Array(bytes), (half) => {
        const sign = half & 0x8000 ? -1 : 1, exponent = (half >> 10) & 31, fraction = half & 1023;
        return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -24 * fraction);
    });
}

function holds({first, last}, time, late) {
    return time !== null && time >= first - NEAR_S && time <= last + NEAR_S - (late ? LATE_S : 0);
}

export class Networks {
    // Args: canvas: to draw on; info: of `loadInfo`; url: that it was loaded from.
    constructor(canvas, info, url) {
        this.canvas = canvas;
        this.gl = contextOf(canvas);
        canvas.width = info.width;
        canvas.height = info.height;
        this.info = info;
        this.url = url;
        this.loads = new Map(); // by index of a network
        this.restorers = new Map(); // by shape
        // Whether the time of a picture matters, or its samples are not square, so that a video element does not tell how
        // many they are.
        this.needsFrames = info.networks.length > 1 || Boolean(info.networks[0].adapted)
            || Math.abs(info.aspect * info.height / info.width - 1) > 1e-3;
        this.networks = info.networks.map((network) => ({...info, ...network, values: null, segments: []}));
    }

    // Loads and compiles what a rendition needs between two times, s.
    async ready(rendition, from = -Infinity, to = Infinity) {
        // A lone part has no times.
        const needed = this.listsOf(rendition).flat().filter(({first, last}) => !(first > to || last < from));
        await Promise.all(needed.map(({network}) => {
            if (!this.loads.has(network)) this.loads.set(network, this.load(this.networks[network]));
            return this.loads.get(network);
        }));
    }

    async load(network) {
        const at = (name) => fetched(new URL(name, this.url));
        if (network.weights) network.values = halves(await (await at(network.weights)).arrayBuffer());
        if (network.adapted) {
            const {segments} = await (await at(network.adapted)).json();
            network.segments = segments.map(({first, last, weights}) => {
                const bytes = Uint8Array.from(atob(weights), (letter) => letter.charCodeAt(0));
                return {first, last, values: halves(bytes.buffer)};
            });
        }
        this.restorer(network);
    }

    // Parts of a rendition; of each of them if it is null.
    listsOf(rendition) {
        const {renditions} = this.info;
        return rendition === null ? Object.values(renditions) : [renditions[rendition] ?? []];
    }

    // The network of a picture, and its numbers; null where that is not certain.
    // Args: rendition: null if it is not known; time: s, null if it is not known; late: whether the picture may be newer
    // than its time; width, height: of the picture.
    at({rendition, time, late, width, height}) {
        const found = new Set();
        for (const parts of this.listsOf(rendition)) {
            for (const part of parts) if (parts.length === 1 || holds(part, time, late)) found.add(part.network);
        }
        const fitting = [...found].map((index) => this.networks[index])
            .filter((network) => network.coded_width === width && network.coded_height === height);
        const network = fitting.length === 1 ? fitting[0] : null;
        if (!network || (network.weights && !network.values)) return null;
        const segment = network.segments.findIndex((one) => holds(one, time, late));
        return {network, segment, values: segment < 0 ? network.values : network.segments[segment].values};
    }

    // Draws a picture. Args: found: of `at`; split: of the width; to its right the picture is plain.
    draw(picture, found, split) {
        const restorer = this.restorer(found.network);
        if (found.values) restorer.use(found.values);
        restorer.draw(picture, split);
        return restorer;
    }

    restorer(network) {
        const {layers, linear, small, large, small_width, small_height} = network;
        const shape = JSON.stringify([layers, linear, small, large, small_width, small_height]);
        if (!this.restorers.has(shape)) this.restorers.set(shape, new Restorer(this.gl, network));
        return this.restorers.get(shape);
    }

    // After the context was lost and has come back.
    renew() {
        contextOf(this.canvas); // which enables its extensions again
        this.restorers.clear();
        for (const network of this.networks) if (network.values) this.restorer(network);
    }
}
