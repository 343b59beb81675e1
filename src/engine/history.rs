//! Recording and reading the figures of the last hour and the last day, for the operator's console.

use super::figure_series::{FigureHistory, Totals};
use super::{Engine, Result};
use crate::store::Store;

impl<S: Store> Engine<S> {
    /// Adds a point to the history, if there is a console to show it.
    ///
    /// # Errors
    /// A store that cannot answer: then the next point covers a longer interval.
    pub async fn record_figures(&self) -> Result<()> {
        if !self.has_console() {
            return Ok(());
        }
        let figures = self.store.figures().await?;
        let totals = Totals::of(&self.counts, &figures);
        self.history.record(self.clock.now().wall, &figures, &totals);
        Ok(())
    }

    /// The history so far.
    pub fn figure_history(&self) -> FigureHistory {
        self.history.read()
    }
}
