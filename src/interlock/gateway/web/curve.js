// The learning curve: measured utility of what was served, against what each fixed candidate would have earned.
import { useState } from "./vendor/hooks.js";
import { axes, Plot } from "./plot.js";
import { overall } from "./pool.js";
import { head, html, money, number, percent, Table, usePolled, waiting } from "./ui.js";

const FEWEST = 20; // judged decisions before there is something to see
const NORMAL = 1.96; // standard errors each side that make a 95% interval
const colour = (index) => `oklch(0.62 0.14 ${Math.round((60 + index * 137.5) % 360)})`;

/** Mean and 95% half-width over the last third of a series' points. */
function late({ mean, standard_error: error }) {
  const from = Math.floor(mean.length * 2 / 3);
  const points = mean.slice(from).map((value, i) => [value, error[from + i]]).filter(([value, width]) => value !== null && width !== null);
  if (!points.length) return { mean: null, width: null };
  const width = NORMAL * Math.hypot(...points.map(([, width]) => width)) / points.length;
  return { mean: points.reduce((sum, [value]) => sum + value, 0) / points.length, width };
}

function verdict(served, best) {
  const noise = Math.hypot(served.width, best.width);
  if (Math.abs(served.mean - best.mean) <= noise) return "no clear difference yet from always";
  return served.mean > best.mean ? "more than always" : "less than always";
}

function draw({ until, served, fixed }, shown, colours) {
  const edge = (sign) => served.mean.map((value, i) => (value === null ? null : value + sign * NORMAL * (served.standard_error[i] ?? 0)));
  const hidden = { width: 0, points: { show: false } };
  const whole = (_, ticks) => ticks.map((tick) => (tick % 1 ? "" : tick));
  return (colour) => ({
    data: [until, served.mean, edge(-1), edge(1), ...shown.map((name) => fixed[name].mean)],
    scales: { x: { time: false } },
    axes: [{ ...axes(colour), label: "judged decisions", values: whole }, { ...axes(colour), label: "utility", size: 56 }],
    bands: [{ series: [3, 2], fill: `${colour("accent")}2e` }],
    series: [{}, { stroke: colour("accent"), width: 3, points: { show: false } }, hidden, hidden,
      ...shown.map((name) => ({ stroke: colours[name], width: 1.5, dash: [5, 4], points: { show: false } }))],
  });
}

const LABEL = "Utility of interlock and of fixed candidates over judged decisions; the table below has the numbers";

const line = (stroke, dash) => html`<svg class="swatch" viewBox="0 0 18 4" aria-hidden="true">
  <path d="M0 2h18" stroke=${stroke} stroke-width="4" stroke-dasharray=${dash} /></svg>`;

const utility = ({ mean, width }) => html`${number(mean, 3)} <small class="quiet">± ${number(width, 3)}</small>`;

function Sentence({ served, best, pool: { cost, dearest, saved } }) {
  return html`<p>${`In the last third interlock earned ${number(served.mean, 3)} ± ${number(served.width, 3)} a request, `}
    <b>${verdict(served, best)} ${best.name}</b>${` (${number(best.mean, 3)} ± ${number(best.width, 3)}). `}
    ${saved !== null && `An answer cost ${money(cost)}, ${percent(saved)} less than those of ${dearest.name}, the dearest.`}</p>`;
}

function Learning({ curve, candidates }) {
  const [picked, pick] = useState(null);
  const pool = overall(candidates);
  const costs = Object.fromEntries(candidates.map((row) => [row.name, row.cost]));
  const names = Object.keys(curve.fixed);
  const colours = Object.fromEntries(names.map((name, i) => [name, colour(i)]));
  const served = late(curve.served);
  const rows = names.map((name) => ({ name, ...late(curve.fixed[name]) })).sort((a, b) => (b.mean ?? -Infinity) - (a.mean ?? -Infinity));
  const cheapest = rows.filter((row) => costs[row.name] > 0).sort((a, b) => costs[a.name] - costs[b.name])[0];
  const telling = [rows[0], pool.dearest, cheapest].map((row) => row?.name);
  const shown = picked ?? names.filter((name) => telling.includes(name));
  const toggle = (name) => pick(shown.includes(name) ? shown.filter((other) => other !== name) : [...shown, name]);
  return html`<${Sentence} served=${served} best=${rows[0]} pool=${pool} /><${Plot} build=${draw(curve, shown, colours)}
    inputs=${[curve, shown.join()]} label=${LABEL} />
    <p class="quiet">Thick line: interlock, with its 95% interval. ${curve.per_point} judged decisions a point; ${curve.method}.</p>
    <${Table} label="Fixed candidates">${head("always", "utility, last third", "mean cost of its answers")}<tbody>
      <tr class="chosen"><th scope="row">${line("currentColor")} interlock</th><td>${utility(served)}</td><td>${money(pool.cost)}</td></tr>
      ${rows.map((row) => html`<tr key=${row.name}><th scope="row"><label class="check">
        <input type="checkbox" checked=${shown.includes(row.name)} onChange=${() => toggle(row.name)} />${line(colours[row.name], "5 3")} ${row.name}</label></th>
        <td>${utility(row)}</td><td>${money(costs[row.name])}</td></tr>`)}</tbody><//>`;
}

export function Curve() {
  const [curve, error] = usePolled("/v1/curve?points=20", 5000);
  const [pool, offline] = usePolled("/v1/pool", 5000);
  if (!curve || !pool) return waiting(error || offline);
  return html`<section class="panel" aria-labelledby="curve"><h1 id="curve">Learning</h1>
    ${curve.decisions >= FEWEST ? html`<${Learning} curve=${curve} candidates=${pool.candidates} />`
      : html`<p class="quiet">${curve.decisions} judged decisions so far. Give feedback on answers; from ${FEWEST} on, this shows${" "}
        what routing earns against always asking the same candidate.</p>`}</section>`;
}
