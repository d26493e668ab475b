// What every page of the console does: times that go on, and parts that follow what happens.

import { follow } from "./live.js";
import { keepTimes } from "./times.js";

keepTimes();
if (document.querySelector("[data-live]")) follow();
