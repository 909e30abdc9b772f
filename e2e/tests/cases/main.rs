//! The cases on a real cluster; they mostly wait, so they run side by side, each with a namespace,
//! an operator and a gateway of its own.

mod drain;
mod line;
mod queue;
mod replace;
mod tokens;
