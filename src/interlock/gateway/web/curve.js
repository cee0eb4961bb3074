// The learning curve: measured utility of what was served, against what each fixed candidate would have earned.
import uPlot from "./vendor/uplot.js";
import { useEffect, useRef } from "./vendor/hooks.js";
import { usePolled } from "./pool.js";
import { head, html, number } from "./ui.js";

const COLOURS = ["#64748b", "#b45309", "#7c3aed", "#0369a1", "#a16207", "#be185d", "#4d7c0f", "#475569", "#9f1239", "#155e75", "#854d0e", "#5b21b6"];
const mean = (values) => { const known = values.filter((value) => value !== null); return known.length ? known.reduce((a, b) => a + b, 0) / known.length : null; };

function Plot({ curve }) {
  const box = useRef(null);
  useEffect(() => {
    const style = getComputedStyle(document.documentElement);
    const ink = style.getPropertyValue("--quiet").trim(), grid = style.getPropertyValue("--line").trim();
    const names = Object.keys(curve.fixed);
    const axis = { stroke: ink, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1 } };
    const size = () => ({ width: box.current.clientWidth, height: Math.max(260, Math.min(460, box.current.clientWidth * 0.5)) });
    const plot = new uPlot({
      ...size(), scales: { x: { time: false } }, legend: { live: false },
      axes: [{ ...axis, label: "judged decisions" }, { ...axis, label: "utility" }],
      series: [{}, { label: "interlock", stroke: style.getPropertyValue("--accent").trim(), width: 3 },
        ...names.map((name, i) => ({ label: name, stroke: COLOURS[i % COLOURS.length], width: 1, dash: [4, 3], spanGaps: true }))],
    }, [curve.until, curve.served.mean, ...names.map((name) => curve.fixed[name].mean)], box.current);
    const watch = new ResizeObserver(() => plot.setSize(size()));
    watch.observe(box.current);
    return () => { watch.disconnect(); plot.destroy(); };
  }, [curve]);
  return html`<div ref=${box} class="plot"></div>`;
}

export function Curve() {
  const [curve, error] = usePolled("/v1/curve", 5000);
  if (error) return html`<p class="bad" role="alert">${error}</p>`;
  if (!curve) return html`<p class="quiet">Reading …</p>`;
  const late = (series) => mean(series.mean.slice(Math.floor(series.mean.length * 2 / 3)));
  const rows = Object.entries(curve.fixed).map(([name, series]) => [name, late(series)]).sort((a, b) => (b[1] ?? -9) - (a[1] ?? -9));
  const served = late(curve.served);
  return html`<section class="panel" aria-labelledby="curve"><h2 id="curve">Learning</h2>
    ${curve.decisions < 20 ? html`<p class="quiet">${curve.decisions} judged decisions so far. Give feedback on answers, and the curve appears here from 20 on.</p>` : html`
      <p>Last third: interlock earned <b>${number(served, 3)}</b>; the best fixed candidate, ${rows[0]?.[0]}, would have earned <b>${number(rows[0]?.[1], 3)}</b>.</p>
      <${Plot} curve=${curve} /><p class="quiet">${curve.method}. ${curve.per_point} judged decisions a point.</p>
      <div class="scroll"><table>${head("always", "utility, last third")}<tbody>
        <tr class="chosen"><th scope="row">interlock</th><td>${number(served, 3)}</td></tr>
        ${rows.map(([name, value]) => html`<tr key=${name}><th scope="row">${name}</th><td>${number(value, 3)}</td></tr>`)}</tbody></table></div>`}
  </section>`;
}
