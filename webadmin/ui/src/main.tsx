// SPDX-License-Identifier: Apache-2.0
import { render } from "preact";
import { en } from "./en";
import "./style.css";
import { zh } from "./zh";

const chinese = navigator.language.toLowerCase().startsWith("zh");

function t(key: keyof typeof en): string {
	return (chinese ? zh : en)[key];
}

document.documentElement.lang = chinese ? "zh-CN" : "en";
render(
	<main>
		<h1>Granary</h1>
		<p>{t("page.what")}</p>
		<p>{t("page.how")}</p>
		<p><a href="/api/v1/openapi.json">{t("page.api")}</a></p>
	</main>,
	document.getElementById("app")!,
);
