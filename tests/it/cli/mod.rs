//! The command line.

mod command_line;
mod commands;
mod db;
mod runbook;
mod tour;
