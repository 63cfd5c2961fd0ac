// SPDX-License-Identifier: Apache-2.0
// The load of the last minutes, from the daemon's own samples, one a second.
import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import { get } from "../api";
import { bytes, number } from "../format";
import { look, repaint } from "../look";
import { Card } from "../parts";
import { language, t } from "../text";
import type { Performance } from "../types";

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

const colour = (name: string) => {
	const probe = document.createElement("i");
	probe.style.color = `var(--${name})`;
	document.body.append(probe);
	const value = getComputedStyle(probe).color;
	probe.remove();
	return value;
};

function Chart({ samples, columns, format, label, least, steps }: { samples: number[][]; columns: [number, number]; format: (value: number) => string; label: string; least: number; steps: number[] }) {
	const box = useRef<HTMLDivElement>(null);
	const plot = useRef<uPlot | null>(null);
	const state = `${repaint.value} ${look.value} ${language.value}`;
	useEffect(() => {
		const grid = { stroke: colour("line"), width: 1 };
		const axis = { stroke: colour("quiet"), grid, ticks: { show: false }, font: "11px system-ui, sans-serif" };
		const series = (name: string, tone: string): uPlot.Series => ({ label: name, stroke: colour(tone), fill: colour(`${tone}-soft`), width: 1.5, points: { show: false }, value: (_, value) => (value === null ? "–" : format(value)) });
		plot.current = new uPlot({
			width: box.current!.clientWidth, height: HEIGHT, padding: [8, 28, 0, 0], legend: { show: false },
			cursor: { y: false, points: { size: 6 } },
			scales: { x: { time: true }, y: { range: (_, __, most) => [0, Math.max(most * 1.15, least)] } },
			axes: [{ ...axis, space: 90, size: 26, values: (_, at) => at.map((one) => new Date(one * 1000).toLocaleTimeString(language.value === "zh" ? "zh-CN" : "en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" })), grid: { show: false } }, { ...axis, size: 64, space: 26, incrs: steps, values: (_, at) => at.map(format) }],
			series: [{}, series(t("chart.read"), "read"), series(t("chart.write"), "write")],
		}, [[], [], []], box.current!);
		const watcher = new ResizeObserver(([entry]) => plot.current?.setSize({ width: entry.contentRect.width, height: HEIGHT }));
		watcher.observe(box.current!);
		return () => { watcher.disconnect(); plot.current?.destroy(); };
	}, [state]);
	useEffect(() => {
		const last = samples.length ? samples[samples.length - 1][0] / 1000 : Date.now() / 1000;
		plot.current?.setData([samples.map((one) => one[0] / 1000), samples.map((one) => one[columns[0]]), samples.map((one) => one[columns[1]])], true);
		plot.current?.setScale("x", { min: last - SECONDS, max: last });
	}, [samples, state]);
	const now = samples[samples.length - 1];
	return (
		<Card title={label} actions={<span class="legend"><span class="read">{t("chart.read")} <b>{format(now?.[columns[0]] ?? 0)}</b></span><span class="write">{t("chart.write")} <b>{format(now?.[columns[1]] ?? 0)}</b></span></span>}>
			<div class="chart" ref={box} role="img" aria-label={t("chart.label", { what: label, read: format(now?.[columns[0]] ?? 0), write: format(now?.[columns[1]] ?? 0) })} />
		</Card>
	);
}

export function Charts() {
	const samples = useSamples();
	return (
		<div class="columns even">
			<Chart samples={samples} columns={[1, 2]} format={(value) => `${bytes(value)}/s`} label={t("chart.throughput")} least={2 ** 20} steps={BINARY} />
			<Chart samples={samples} columns={[3, 4]} format={(value) => number(value)} label={t("chart.iops")} least={10} steps={DECIMAL} />
		</div>
	);
}
