// Starts the behaviours that every page has; each lives in a module of its own.
import "./tick.js";
import "./csrf.js";
import "./stale.js";
import "./ago.js";
import "./copy.js";
import "./search.js";
import "./menu.js";
import "./zone.js";
