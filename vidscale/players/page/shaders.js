// Texts of the shaders. Every pass reads texels by their integer position, row 0 at the top; only the last one turns
// the picture, because the rows of a canvas count from the bottom.

const HEAD = `#version 300 es
precision highp float;
precision highp int;
precision highp sampler2DArray;
`;

export const CORNERS = `#version 300 es
void main() {  // one triangle that covers everything
    gl_Position = vec4(gl_VertexID == 1 ? 3.0 : -1.0, gl_VertexID == 2 ? 3.0 : -1.0, 0.0, 1.0);
}`;

// Code / peak of a small sample, from the browser's RGB; edge samples are repeated outside the true small picture.
function luma(info) {
    const [offset, range] = info.range === 'pc' ? [0, 1] : [16 / 255, 219 / 255];
    return `
uniform sampler2D video;
const vec3 toLuma = vec3(${info.luma.map(real).join(', ')});
float luma(ivec2 at) {
    vec3 rgb = texelFetch(video, clamp(at, ivec2(0), ivec2(${info.small_width - 1}, ${info.small_height - 1})), 0).rgb;
    return ${real(offset)} + ${real(range)} * dot(rgb, toLuma);
}
`;
}

function real(value) {
    return Number.isInteger(value) ? `${value}.0` : `${value}`;
}

function each(count, text) {
    return Array.from({length: count}, (_, index) => text(index)).join('\n');
}

// Adds cells of luma, convolved with `taps`, to the sums.
function overLuma(name, support, small, groups, first) {
    return `
    {
        ivec2 from = (cell + ${first}) * ${small};
        int tap = 0;
        for (int row = 0; row < ${support}; ++row) for (int column = 0; column < ${support}; ++column)
        for (int y = 0; y < ${small}; ++y) for (int x = 0; x < ${small}; ++x) {
            float sample_ = luma(from + ivec2(column * ${small} + x, row * ${small} + y));
${each(groups, (g) => `            s${g} += ${name}[tap + ${g}] * sample_;`)}
            tap += ${groups};
        }
    }`;
}

function overFeatures(support, taken, groups) {
    return `
    {
        int tap = 0;
        for (int row = 0; row < ${support}; ++row) for (int column = 0; column < ${support}; ++column)
        for (int group = 0; group < ${taken}; ++group) {
            vec4 x = texelFetch(features, ivec3(cell + ivec2(column, row), group), 0);
${each(groups, (g) => `            s${g} += taps[tap + ${g}] * x;`)}
            tap += ${groups};
        }
    }`;
}

// One pass of a layer: all its output channels, or some of them.
export function layerShader(info, pass) {
    const {layer, groups, isFirst, isLast, margin, taken} = pass;
    const size = layer.support * layer.support * (isFirst ? info.small * info.small : taken) * groups;
    const linear = isLast && info.linear ? info.linear * info.linear * info.small * info.small * groups : 0;
    return HEAD + (isFirst || linear ? luma(info) : '') + `
uniform sampler2DArray features;
layout(std140) uniform Weights {
    vec4 offset[${groups}];
    ${isFirst ? 'vec4' : 'mat4'} taps[${size}];
    ${linear ? `vec4 linear[${linear}];` : ''}
};
${each(groups, (g) => `layout(location = ${g}) out vec4 out${g};`)}
void main() {
    ivec2 cell = ivec2(gl_FragCoord.xy);
${each(groups, (g) => `    vec4 s${g} = offset[${g}];`)}
${isFirst ? overLuma('taps', layer.support, info.small, groups, -margin) : overFeatures(layer.support, taken, groups)}
${isLast ? '' : each(groups, (g) => `    s${g} = max(s${g}, s${g} * ${real(info.slope)});`)}
${linear ? overLuma('linear', info.linear, info.small, groups, -(info.linear >> 1)) : ''}
${each(groups, (g) => `    out${g} = s${g};`)}
}`;
}

// Cells to samples, luma back to RGB with the browser's own colour, and the plain picture beside it.
export function showShader(info) {
    const [offset, range] = info.range === 'pc' ? [0, 1] : [16 / 255, 219 / 255];
    return HEAD + luma(info) + `
uniform sampler2DArray features;
uniform float split;  // of the width: the plain picture is to the right
out vec4 color;
void main() {
    ivec2 size = ivec2(${info.width}, ${info.height});
    ivec2 at = ivec2(gl_FragCoord.xy);
    at.y = size.y - 1 - at.y;
    vec2 small = (vec2(at) + 0.5) * ${real(info.small)} / ${real(info.large)};
    vec2 last = vec2(${info.small_width}, ${info.small_height}) - 0.5;
    vec3 plain = textureLod(video, clamp(small, vec2(0.5), last) / vec2(textureSize(video, 0)), 0.0).rgb;
    if (float(at.x) >= split * float(size.x)) {
        color = vec4(plain, 1.0);
        return;
    }
    ivec2 cell = at / ${info.large}, part = at % ${info.large};
    int channel = part.y * ${info.large} + part.x;
    float code = clamp(texelFetch(features, ivec3(cell, channel / 4), 0)[channel % 4], 0.0, 1.0);
    float y = (code - ${real(offset)}) / ${real(range)};
    color = vec4(clamp(plain + (y - dot(plain, toLuma)), 0.0, 1.0), 1.0);
}`;
}
