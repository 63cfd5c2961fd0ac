// SPDX-License-Identifier: Apache-2.0
import { effect } from "@preact/signals";
import { render } from "preact";
import { App } from "./shell";
import "uplot/dist/uPlot.min.css";
import "./style.css";
import { language } from "./text";

effect(() => { document.documentElement.lang = language.value === "zh" ? "zh-CN" : "en"; });
render(<App />, document.getElementById("app")!);
