// What every page of the console does: times that go on, and parts that follow what happens.

import { readCharts } from "./charts.js";
import { follow } from "./live.js";
import { keepTimes } from "./times.js";

keepTimes();
readCharts();
document.querySelector(".side [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
if (document.querySelector("[data-live]")) follow();
