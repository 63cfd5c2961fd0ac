// SPDX-License-Identifier: Apache-2.0
import { effect } from "@preact/signals";
import { render } from "preact";
import { App } from "./shell";
import "uplot/dist/uPlot.min.css";
import "./style.css";
import { language, textsAreHere } from "./text";

effect(() => { document.documentElement.lang = language.value === "zh" ? "zh-CN" : "en"; });
const root = document.getElementById("app")!;
textsAreHere().then(() => render(<App />, root), () => { root.textContent = "Granary could not be loaded: load this page again. / 无法加载，请重新加载此页面。"; });
