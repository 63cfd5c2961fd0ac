// SPDX-License-Identifier: Apache-2.0
// The load of the last minutes, from the daemon's own samples, one a second.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import { get } from "../api";
import { bytes, number } from "../format";
import { useResource } from "../live";
import { look, repaint } from "../look";
import { Card } from "../parts";
import { language, t } from "../text";
import type { Latency, Performance } from "../types";

const SECONDS = 300;
const HEIGHT = 150;
const DECIMAL = Array.from({ length: 24 }, (_, at) => [1, 2, 5][at % 3] * 10 ** Math.floor(at / 3));
const BINARY = Array.from({ length: 44 }, (_, at) => 2 ** at);

/** Samples, oldest first: [ms since 1970, read B/s, written B/s, reads/s, writes/s]. */
function useSamples(): number[][] {
	const [samples, setSamples] = useState<number[][]>([]);
	useEffect(() => {
		let kept: number[][] = [];
		let stopped = false;
		async function ask() {
			if (document.visibilityState !== "visible") return;
			try {
				const after = kept.length ? kept[kept.length - 1][0] : 0;
				const more = (await get<Performance>(`/performance?after=${after}`)).samples;
				kept = [...kept, ...more].slice(-SECONDS);
				if (more.length && !stopped) setSamples(kept);
			} catch { /* the pages tell it */ }
		}
		void ask();
		const timer = setInterval(ask, 1000);
		return () => { stopped = true; clearInterval(timer); };
	}, []);
	return samples;
}

/** The same of the last @hours, from rows that are kept for a year. */
function useHistory(hours: number): number[][] {
	const { data } = useResource<Performance>(hours ? `/history?hours=${hours}` : null, true);
	return data?.samples ?? [];
}

const colour = (name: string) => {
	const probe = document.createElement("i");
	probe.style.color = `var(--${name})`;
	document.body.append(probe);
	const value = getComputedStyle(probe).color;
	probe.remove();
	return value;
};

/** How long no more than the slowest hundredth took between two looks, in ms: the bound of its bucket. */
export function quantile(bounds: number[], older: number[], newer: number[], share: number): number {
	const more = newer.map((count, at) => Math.max(0, count - (older[at] ?? 0)));
	const wanted = more.reduce((sum, one) => sum + one, 0) * share;
	if (!wanted) return 0;
	let sum = 0;
	const at = more.findIndex((one) => (sum += one) >= wanted);
	return (bounds[at] ?? bounds[bounds.length - 1] * 2) / 1e6;
}

/** The same shape: [ms since 1970, reads, writes], in ms, from the counts at @path. */
function useLatency(path: string): number[][] {
	const [samples, setSamples] = useState<number[][]>([]);
	useEffect(() => {
		let last: Latency | null = null, stopped = false;
		async function ask() {
			if (document.visibilityState !== "visible") return;
			try {
				const now: Latency = await get<Latency>(path), old = last;
				last = now;
				if (old && !stopped) setSamples((kept) => [...kept, [now.at_ms, quantile(now.bounds_ns, old.read.buckets, now.read.buckets, 0.99), quantile(now.bounds_ns, old.write.buckets, now.write.buckets, 0.99)]].slice(-SECONDS));
			} catch { /* the pages tell it */ }
		}
		void ask();
		const timer = setInterval(ask, 2000);
		return () => { stopped = true; clearInterval(timer); };
	}, [path]);
	return samples;
}

const milliseconds = (value: number) => `${number(value, value < 10 ? 2 : 0)} ms`;
const TENTHS = Array.from({ length: 18 }, (_, at) => [1, 2, 5][at % 3] * 10 ** (Math.floor(at / 3) - 1));

/** How long 99 of 100 reads and writes took, and no longer: live. */
export function LatencyChart({ path }: { path: string }) {
	return <Chart samples={useLatency(path)} columns={[1, 2]} format={milliseconds} label={t("chart.latency")} least={0.2} steps={TENTHS} />;
}

/** What is said of a moment depends on how many are on show. */
function tick(at: number, span: number): string {
	const place = language.value === "zh" ? "zh-CN" : "en-GB", moment = new Date(at);
	if (span > 2 * 86400) return moment.toLocaleDateString(place, { month: "short", day: "numeric" });
	return moment.toLocaleTimeString(place, { hour: "2-digit", minute: "2-digit", second: span <= SECONDS ? "2-digit" : undefined });
}

function Chart({ samples, columns, format, label, least, steps, span = SECONDS }: { samples: number[][]; columns: [number, number]; format: (value: number) => string; label: string; least: number; steps: number[]; span?: number }) {
	const box = useRef<HTMLDivElement>(null);
	const plot = useRef<uPlot | null>(null);
	const state = `${repaint.value} ${look.value} ${language.value} ${span}`;
	useEffect(() => {
		const grid = { stroke: colour("line"), width: 1 };
		const axis = { stroke: colour("quiet"), grid, ticks: { show: false }, font: "11px system-ui, sans-serif" };
		const series = (name: string, tone: string): uPlot.Series => ({ label: name, stroke: colour(tone), fill: colour(`${tone}-soft`), width: 1.5, points: { show: false }, value: (_, value) => (value === null ? "–" : format(value)) });
		plot.current = new uPlot({
			width: box.current!.clientWidth, height: HEIGHT, padding: [8, 28, 0, 0], legend: { show: false },
			cursor: { y: false, points: { size: 6 } },
			scales: { x: { time: true }, y: { range: (_, __, most) => [0, Math.max(most * 1.15, least)] } },
			axes: [{ ...axis, space: 90, size: 26, values: (_, at) => at.map((one) => tick(one * 1000, span)), grid: { show: false } }, { ...axis, size: 64, space: 26, incrs: steps, values: (_, at) => at.map(format) }],
			series: [{}, series(t("chart.read"), "read"), series(t("chart.write"), "write")],
		}, [[], [], []], box.current!);
		const watcher = new ResizeObserver(([entry]) => plot.current?.setSize({ width: entry.contentRect.width, height: HEIGHT }));
		watcher.observe(box.current!);
		return () => { watcher.disconnect(); plot.current?.destroy(); };
	}, [state]);
	useEffect(() => {
		const last = samples.length ? samples[samples.length - 1][0] / 1000 : Date.now() / 1000;
		plot.current?.setData([samples.map((one) => one[0] / 1000), samples.map((one) => one[columns[0]]), samples.map((one) => one[columns[1]])], true);
		plot.current?.setScale("x", { min: last - span, max: last });
	}, [samples, state]);
	const now = samples[samples.length - 1];
	return (
		<Card title={label} actions={<span class="legend"><span class="read">{t("chart.read")} <b>{format(now?.[columns[0]] ?? 0)}</b></span><span class="write">{t("chart.write")} <b>{format(now?.[columns[1]] ?? 0)}</b></span></span>}>
			<div class="chart" ref={box} role="img" aria-label={t("chart.label", { what: label, read: format(now?.[columns[0]] ?? 0), write: format(now?.[columns[1]] ?? 0) })} />
		</Card>
	);
}

const RANGES = [0, 24, 168, 720, 8760];

export function Charts() {
	const [hours, setHours] = useState(0);
	const live = useSamples(), kept = useHistory(hours), samples = hours ? kept : live;
	const span = hours ? hours * 3600 : SECONDS, inMs = useMemo(() => kept.map((one) => [one[0], one[5] / 1000, one[6] / 1000]), [kept]);
	const names: Record<number, string> = { 0: t("chart.minutes"), 24: t("chart.day"), 168: t("chart.week"), 720: t("chart.month"), 8760: t("chart.year") };
	return (
		<>
			<div class="ranges" role="group" aria-label={t("chart.range")}>
				{RANGES.map((one) => <button key={one} type="button" class="link" aria-pressed={hours === one} onClick={() => setHours(one)}>{names[one]}</button>)}
			</div>
			<div class="columns even">
				<Chart samples={samples} span={span} columns={[1, 2]} format={(value) => `${bytes(value)}/s`} label={t("chart.throughput")} least={2 ** 20} steps={BINARY} />
				<Chart samples={samples} span={span} columns={[3, 4]} format={(value) => number(value)} label={t("chart.iops")} least={10} steps={DECIMAL} />
				{hours > 0 && <Chart samples={inMs} span={span} columns={[1, 2]} format={milliseconds} label={t("chart.latency")} least={0.2} steps={TENTHS} />}
			</div>
		</>
	);
}
