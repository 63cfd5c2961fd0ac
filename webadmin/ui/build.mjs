// SPDX-License-Identifier: Apache-2.0
// Builds the browser application into dist/ (gzip, names with a hash of the contents) and writes
// webfront/assets.inc, by which granary-web embeds it. "--check" changes nothing and fails when
// what is committed is not what the sources build.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync, gzipSync } from "node:zlib";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const dist = join(here, "dist");
const include = join(here, "..", "..", "webfront", "assets.inc");
const limit = 150 * 1000;
const check = process.argv.includes("--check");

function fail(text) {
	console.error(`ui: ${text}`);
	process.exit(1);
}

function textOf(language, key) {
	const line = readFileSync(join(here, "src", `${language}.ts`), "utf8").split("\n").find((one) => one.startsWith(`\t"${key}": `));
	return line ? line.slice(key.length + 5) : "";
}

// Every text is there in every language, and every text is used.
function checkTexts() {
	const keys = {};
	for (const language of ["en", "zh"]) {
		const text = readFileSync(join(here, "src", `${language}.ts`), "utf8");
		keys[language] = [...text.matchAll(/^\t"?([\w.-]+)"?:/gm)].map((match) => match[1]);
		const twice = keys[language].filter((key, at) => keys[language].indexOf(key) !== at);
		if (twice.length) fail(`${language}.ts has twice: ${twice.join(", ")}`);
	}
	for (const [a, b] of [["en", "zh"], ["zh", "en"]]) {
		const missing = keys[a].filter((key) => !keys[b].includes(key));
		if (missing.length) fail(`${b}.ts lacks: ${missing.join(", ")}`);
	}
	// The same places to fill in, in every language.
	for (const key of keys.en) {
		const places = ["en", "zh"].map((language) => [...textOf(language, key).matchAll(/\{\w+\}/g)].map((match) => match[0]).sort().join());
		if (places[0] !== places[1]) fail(`${key}: ${places.join(" and ")} differ`);
	}
	const source = readdirSync(join(here, "src"), { recursive: true })
		.filter((name) => /\.tsx?$/.test(name) && !/^(en|zh)\.ts$/.test(name))
		.map((name) => readFileSync(join(here, "src", name), "utf8"))
		.join("\n");
	// These are put together from what the daemon names.
	const named = /^(alertstate|backupchange|backupwhat|channel|code|device|diskhealth|every|hint|finding|job|jobstate|link|member|refused|replicarole|replicastate|role|roleHint|severity|state|updatestate|upsstate)\./;
	const unused = keys.en.filter((key) => !named.test(key) && !source.includes(`"${key}"`));
	if (unused.length) fail(`texts that nothing uses: ${unused.join(", ")}`);
	const wanted = [...source.matchAll(/\bt\("([\w.-]+)"/g)].map((match) => match[1]);
	const unknown = [...new Set(wanted)].filter((key) => !keys.en.includes(key));
	if (unknown.length) fail(`texts that are not there: ${unknown.join(", ")}`);
}

function checkTypes() {
	const result = spawnSync(process.execPath, [join(here, "node_modules/typescript/bin/tsc"), "--noEmit", "-p", here], { stdio: "inherit" });
	if (result.status !== 0) fail("the types do not hold");
}

const hash = (data) => createHash("sha256").update(data).digest("hex").slice(0, 12);

async function bundle() {
	const result = await build({
		absWorkingDir: here,
		entryPoints: ["src/main.tsx"],
		bundle: true,
		minify: true,
		splitting: true,
		write: false,
		outdir: "out",
		entryNames: "app-[hash]",
		chunkNames: "[name]-[hash]",
		target: ["es2022"],
		format: "esm",
		charset: "utf8",
		legalComments: "none",
		jsx: "automatic",
		jsxImportSource: "preact",
	});
	const files = [];
	const names = {};
	for (const output of result.outputFiles) {
		const name = basename(output.path);
		const [, part, kind] = /^(\w+)-\w+\.(js|css)$/.exec(name);
		if (part === "app") names[kind] = name;
		files.push({ name, data: Buffer.from(output.contents), immutable: true, symbol: `${part}_${kind}`, type: kind === "css" ? "text/css; charset=utf-8" : "text/javascript; charset=utf-8" });
	}
	const icon = readFileSync(join(here, "src/icon.svg"));
	files.push({ name: `icon-${hash(icon)}.svg`, data: icon, immutable: true, symbol: "icon", type: "image/svg+xml" });
	const page = readFileSync(join(here, "src/index.html"), "utf8")
		.replace("@JS@", `/${names.js}`)
		.replace("@CSS@", `/${names.css}`)
		.replace("@ICON@", `/icon-${hash(icon)}.svg`);
	files.push({ name: "index.html", path: "/", data: Buffer.from(page), immutable: false, symbol: "page", type: "text/html; charset=utf-8" });
	return files;
}

function table(files) {
	return "/* SPDX-License-Identifier: Apache-2.0 */\n/* Written by webadmin/ui/build.mjs. */\n" + files.map((file) =>
		`ASSET(${file.symbol}, "${file.path ?? `/${file.name}`}", "${file.type}", "webadmin/ui/dist/${file.name}.gz", ${file.immutable})\n`).join("");
}

function compare(files) {
	if (readFileSync(include, "utf8") !== table(files)) fail("webfront/assets.inc is not what the sources build; run npm run build");
	const committed = readdirSync(dist).sort();
	const wanted = files.map((file) => `${file.name}.gz`).sort();
	if (committed.join() !== wanted.join()) fail(`dist/ holds ${committed.join(", ")}`);
	for (const file of files)
		if (!gunzipSync(readFileSync(join(dist, `${file.name}.gz`))).equals(file.data)) fail(`dist/${file.name}.gz is not what the sources build`);
}

checkTexts();
checkTypes();
const files = await bundle();
const packed = files.map((file) => gzipSync(file.data, { level: 9 }));
// The first view takes everything but the texts of the other language.
const sizeOf = (symbol) => packed[files.findIndex((file) => file.symbol === symbol)].length;
const first = packed.reduce((sum, data) => sum + data.length, 0) - Math.min(sizeOf("en_js"), sizeOf("zh_js"));
if (first > limit) fail(`${first} bytes of gzip for the first view are more than ${limit}`);
if (check) {
	compare(files);
} else {
	if (existsSync(dist)) rmSync(dist, { recursive: true });
	mkdirSync(dist);
	files.forEach((file, at) => writeFileSync(join(dist, `${file.name}.gz`), packed[at]));
	writeFileSync(include, table(files));
}
console.log(`ui: ${files.length} files, ${first} bytes of gzip for the first view${check ? ", as committed" : ""}`);
