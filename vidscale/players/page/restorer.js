// Restores the pictures of a video element with WebGL2: a pass for each layer of the network, and one that shows.

import {CORNERS, layerShader, showShader} from './shaders.js';

const GROUP = 4; // channels of a texel

// The WebGL2 context of a canvas. Throws an Error with a line for people if the browser cannot restore.
export function contextOf(canvas) {
    const gl = canvas.getContext('webgl2', {alpha: false, antialias: false, depth: false, powerPreference: 'high-performance'});
    if (!gl) throw new Error('this browser has no WebGL2');
    if (!gl.getExtension('EXT_color_buffer_float') && !gl.getExtension('EXT_color_buffer_half_float')) {
        throw new Error('this browser has no floating-point render targets');
    }
    return gl;
}

export class Restorer {
    // Args: gl: of `contextOf`; info: sizes, colours and layers of a network, see `Networks`; without layers there is
    // only the plain picture.
    constructor(gl, info) {
        this.gl = gl;
        this.info = info;
        this.cells = [Math.ceil(info.width / info.large), Math.ceil(info.height / info.large)];
        gl.disable(gl.DITHER);
        this.video = this.texture(gl.TEXTURE_2D, gl.LINEAR);
        gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
        this.programs = [];
        this.passes = this.layers();
        this.show = this.program(showShader(info));
        this.finishPrograms();
        this.split = gl.getUniformLocation(this.show, 'split');
        this.values = null;
    }

    layers() {
        const {gl, info} = this;
        const mostUniforms = gl.getParameter(gl.MAX_UNIFORM_BLOCK_SIZE);
        const mostOutputs = gl.getParameter(gl.MAX_DRAW_BUFFERS);
        if (!info.layers.length) return [];
        const most = Math.max(...info.layers.map((layer) => Math.ceil(layer.out / GROUP)));
        let margin = info.layers.reduce((sum, layer) => sum + (layer.support >> 1), 0);
        const [width, height] = this.cells.map((cells) => cells + 2 * margin);
        this.features = [0, 1].map(() => {
            const texture = this.texture(gl.TEXTURE_2D_ARRAY, gl.NEAREST);
            gl.texStorage3D(gl.TEXTURE_2D_ARRAY, 1, gl.RGBA16F, width, height, most);
            return texture;
        });
        const passes = [];
        let taken = 0;
        for (const [index, layer] of info.layers.entries()) {
            const isFirst = index === 0, isLast = index === info.layers.length - 1;
            const all = Math.ceil(layer.out / GROUP);
            const bytes = 16 + layer.support ** 2 * (isFirst ? 16 * info.small ** 2 : 64 * taken)
                + (isLast ? 16 * info.linear ** 2 * info.small ** 2 : 0); // of one group of outputs
            const together = Math.min(all, mostOutputs, Math.floor(mostUniforms / bytes));
            if (!together) throw new Error('this graphics driver has room for too few uniforms');
            const before = margin;
            margin -= layer.support >> 1;
            for (let begin = 0; begin < all; begin += together) {
                const groups = Math.min(together, all - begin);
                const pass = {layer, groups, begin, taken, isFirst, isLast, margin: before};
                pass.program = this.program(layerShader(info, pass));
                pass.weights = gl.createBuffer();
                pass.source = this.features[(index + 1) % 2];
                pass.target = this.framebuffer(this.features[index % 2], begin, groups);
                pass.size = this.cells.map((cells) => cells + 2 * margin);
                passes.push(pass);
            }
            taken = all;
        }
        return passes;
    }

    // The network's numbers, in the order of `vidscale web`: for each layer offsets and taps, then the linear part.
    use(values) {
        if (values === this.values) return;
        this.values = values;
        const {gl, info} = this;
        let at = 0;
        const next = (count) => values.subarray(at, at += count);
        const parts = info.layers.map((layer) => [next(layer.out), next(layer.out * layer.in * layer.support ** 2)]);
        const linear = info.linear ? next(info.large ** 2 * info.small ** 2 * info.linear ** 2) : null;
        for (const pass of this.passes) {
            const [offset, taps] = parts[info.layers.indexOf(pass.layer)];
            const block = [...this.padded(offset, pass, 1), ...(pass.isFirst
                ? this.padded(taps, pass, pass.layer.in * pass.layer.support ** 2)
                : this.matrices(taps, pass))];
            if (pass.isLast && linear) block.push(...this.padded(linear, pass, linear.length / pass.layer.out));
            gl.bindBuffer(gl.UNIFORM_BUFFER, pass.weights);
            gl.bufferData(gl.UNIFORM_BUFFER, new Float32Array(block), gl.STATIC_DRAW);
        }
    }

    // [n, out] values, the outputs of a pass as vectors.
    * padded(values, {layer, begin, groups}, count) {
        for (let n = 0; n < count; ++n) {
            for (let out = begin * GROUP; out < (begin + groups) * GROUP; ++out) {
                yield out < layer.out ? values[n * layer.out + out] : 0;
            }
        }
    }

    // [k * k, in, out] values as matrices: for each place and group of inputs one for each group of outputs.
    * matrices(values, {layer, begin, groups, taken}) {
        for (let place = 0; place < layer.support ** 2; ++place) {
            for (let group = 0; group < taken; ++group) {
                for (let target = begin; target < begin + groups; ++target) {
                    for (let column = 0; column < GROUP; ++column) {
                        for (let row = 0; row < GROUP; ++row) {
                            const from = group * GROUP + column, to = target * GROUP + row;
                            const exists = from < layer.in && to < layer.out;
                            yield exists ? values[(place * layer.in + from) * layer.out + to] : 0;
                        }
                    }
                }
            }
        }
    }

    // Restores a picture, a video's present one or a VideoFrame. Args: split: of the width; to its right it is plain.
    draw(picture, split) {
        const {gl} = this;
        gl.activeTexture(gl.TEXTURE0);
        gl.bindTexture(gl.TEXTURE_2D, this.video);
        gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, gl.RGBA, gl.UNSIGNED_BYTE, picture);
        gl.activeTexture(gl.TEXTURE1);
        if (split > 0) {
            for (const pass of this.passes) {
                gl.bindFramebuffer(gl.FRAMEBUFFER, pass.target);
                gl.viewport(0, 0, ...pass.size);
                gl.useProgram(pass.program);
                gl.bindBufferBase(gl.UNIFORM_BUFFER, 0, pass.weights);
                gl.bindTexture(gl.TEXTURE_2D_ARRAY, pass.source);
                gl.drawArrays(gl.TRIANGLES, 0, 3);
            }
        }
        gl.bindFramebuffer(gl.FRAMEBUFFER, null);
        gl.viewport(0, 0, this.info.width, this.info.height);
        gl.useProgram(this.show);
        if (this.passes.length) gl.bindTexture(gl.TEXTURE_2D_ARRAY, this.features[(this.info.layers.length - 1) % 2]);
        gl.uniform1f(this.split, this.passes.length ? split : 0);
        gl.drawArrays(gl.TRIANGLES, 0, 3);
    }

    texture(target, filter) {
        const {gl} = this;
        const texture = gl.createTexture();
        gl.bindTexture(target, texture);
        for (const [name, value] of [['MIN_FILTER', filter], ['MAG_FILTER', filter], ['WRAP_S', gl.CLAMP_TO_EDGE],
            ['WRAP_T', gl.CLAMP_TO_EDGE]]) {
            gl.texParameteri(target, gl[`TEXTURE_${name}`], value);
        }
        return texture;
    }

    framebuffer(texture, begin, groups) {
        const {gl} = this;
        const framebuffer = gl.createFramebuffer();
        gl.bindFramebuffer(gl.FRAMEBUFFER, framebuffer);
        const places = Array.from({length: groups}, (_, group) => gl.COLOR_ATTACHMENT0 + group);
        for (const [group, place] of places.entries()) {
            gl.framebufferTextureLayer(gl.FRAMEBUFFER, place, texture, 0, begin + group);
        }
        gl.drawBuffers(places);
        const complete = gl.checkFramebufferStatus(gl.FRAMEBUFFER) === gl.FRAMEBUFFER_COMPLETE;
        if (!complete && !gl.isContextLost()) throw new Error('this browser cannot draw to half-float textures');
        return framebuffer;
    }

    // Starts to compile; asking for the result here would keep the driver from compiling all programs at once.
    program(fragment) {
        const {gl} = this;
        const program = gl.createProgram();
        for (const [kind, text] of [[gl.VERTEX_SHADER, CORNERS], [gl.FRAGMENT_SHADER, fragment]]) {
            const shader = gl.createShader(kind);
            gl.shaderSource(shader, text);
            gl.compileShader(shader);
            gl.attachShader(program, shader);
        }
        gl.linkProgram(program);
        this.programs.push(program);
        return program;
    }

    finishPrograms() {
        const {gl} = this;
        for (const program of this.programs) {
            if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) {
                const logs = gl.getAttachedShaders(program).map((shader) => gl.getShaderInfoLog(shader));
                throw new Error(`the shader does not compile: ${gl.getProgramInfoLog(program)} ${logs.join(' ')}`);
            }
            gl.useProgram(program);
            gl.uniform1i(gl.getUniformLocation(program, 'video'), 0);
            gl.uniform1i(gl.getUniformLocation(program, 'features'), 1);
        }
    }
}
