// Plots over time or over decisions: uPlot in the page's colours, redrawn when they or the width change.
import uPlot from "./vendor/uplot.js";
import { useEffect, useRef, useState } from "./vendor/hooks.js";
import { html } from "./ui.js";

const DARK = matchMedia("(prefers-color-scheme: dark)");
const size = (box, least, most, ratio) => ({ width: box.clientWidth, height: Math.max(least, Math.min(most, box.clientWidth * ratio)) });

/** The page's colours by name, as they are now. */
const palette = () => {
  const style = getComputedStyle(document.documentElement);
  return (name) => style.getPropertyValue(`--${name}`).trim();
};

export const axes = (colour) => ({ stroke: colour("quiet"), grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line"), width: 1 } });

/** `build(colour)` gives uPlot's options and data; it is asked again whenever one of `inputs` is another. */
export function Plot({ build, inputs, label, least = 240, most = 420, ratio = 0.45 }) {
  const box = useRef(null);
  useEffect(() => {
    const place = box.current; // the ref is emptied before the observer ends
    let plot = null;
    const draw = () => {
      plot?.destroy();
      const { data, ...options } = build(palette());
      plot = new uPlot({ legend: { show: false }, cursor: { show: false }, ...size(place, least, most, ratio), ...options }, data, place);
    };
    draw();
    const watch = new ResizeObserver(() => plot.setSize(size(place, least, most, ratio)));
    watch.observe(place);
    DARK.addEventListener("change", draw);
    return () => { watch.disconnect(); DARK.removeEventListener("change", draw); plot.destroy(); };
  }, inputs);
  return html`<div ref=${box} class="plot" style=${{ minHeight: `${least}px` }} role="img" aria-label=${label}></div>`;
}

/** A time of day, as exactly as steps of so many seconds need; whole days by their date. */
function moment(at, step) {
  const date = new Date(at * 1000);
  if (step >= 86400) return date.toLocaleDateString([], { day: "numeric", month: "short" });
  return date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23", ...(step < 60 && { second: "2-digit" }) });
}

const swatch = (colour, dash) => html`<svg class="swatch" viewBox="0 0 18 4" aria-hidden="true">
  <path d="M0 2h18" style=${{ stroke: `var(--${colour})` }} stroke-width="4" stroke-dasharray=${dash} /></svg>`;

/**
 * Lines over time, or over `count`ed things. `lines` are {name, values, colour, fill, dash}; below stands what they are at
 * the pointer, else at the end.
 */
export function Timeline({ at, lines, format, label, range, count }) {
  const [pointed, point] = useState(null);
  const last = Math.max(0, at.length - 1);
  const shown = Math.min(pointed ?? last, last);
  const build = (colour) => ({
    data: [at, ...lines.map((line) => line.values)],
    scales: { x: { time: !count }, y: { range: range ?? ((_, low, high) => [0, high > 0 ? high * 1.08 : 1]) } },
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
    hooks: { setCursor: [({ cursor }) => point(cursor.idx ?? null)] },
    axes: [{ ...axes(colour), size: 30, space: 64, values: (_, ticks, axis, space, step) => ticks.map((tick) => (count ? tick : moment(tick, step))) },
      { ...axes(colour), values: (_, ticks) => ticks.map(format), size: 72 }],
    series: [{}, ...lines.map((line) => ({
      stroke: colour(line.colour), width: 2, dash: line.dash, fill: line.fill && `${colour(line.colour)}22`,
      points: { size: 4 } }))],
  });
  return html`<figure class="timeline"><${Plot} build=${build} inputs=${[JSON.stringify([at, lines])]} label=${label} least=${150} most=${190} ratio=${0.4} />
    <figcaption class="legend"><span class="quiet">${!at.length ? "" : count ? `${count} ${at[shown]}` : moment(at[shown], 1)}</span>${lines.map((line) =>
      html`<span key=${line.name}>${swatch(line.colour, line.dash?.join(" "))} ${line.name} <b>${format(line.values[shown])}</b></span>`)}</figcaption></figure>`;
}

/** Means with their intervals on one scale: `rows` are {name, mean, low, high, colour}; the numbers stand beside them. */
export function Intervals({ rows, format, least }) {
  const known = rows.filter((row) => row.mean !== null && row.mean !== undefined);
  if (!known.length) return null;
  const from = Math.min(...known.map((row) => row.low), least ?? Infinity);
  const to = Math.max(...known.map((row) => row.high));
  const place = (value) => 2 + 96 * (to > from ? (value - from) / (to - from) : 0.5);
  return html`<div class="intervals">${rows.map((row) => html`<div key=${row.name}><span>${row.name}</span>
    <svg viewBox="0 0 100 12" preserveAspectRatio="none" aria-hidden="true" style=${{ color: `var(--${row.colour})` }}>
      <path class="rail" d="M0 6H100" />
      ${known.includes(row) && html`<path class="width" d=${`M${place(row.low)} 6H${place(row.high)}`} /><path class="mean" d=${`M${place(row.mean)} 0.5V11.5`} />`}</svg>
    <span class="figure">${known.includes(row) ? html`<b>${format(row.mean)}</b> <small class="quiet">${format(row.low)} to ${format(row.high)}</small>`
      : html`<span class="quiet">cannot be told</span>`}</span></div>`)}</div>`;
}
