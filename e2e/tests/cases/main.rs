//! The cases on a real cluster; they mostly wait, so they run side by side, each with a namespace,
//! an operator and a gateway of its own.

mod certificates;
mod disk;
mod drain;
mod duplicate;
mod foreground;
mod gateway;
mod hostnet;
mod killed;
mod line;
mod queue;
mod replace;
mod tokens;
mod uninstall;
mod writes;
