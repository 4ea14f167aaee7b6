"use strict";
// The evidence on each unit, in a panel beside the table. Other scripts of the page extend what is here through
//
//   window.spikelab = {
//     about,             // once `ready` has resolved: {fs, seconds, n_samples, locations: [[x, y]...], channel_ids,
//                        //   epochs: [{start_s, name}], dead_s: [[from, to]...], metrics: [{name, label, values, low, high}],
//                        //   unit_ids: [id...], traces: {...} | null}
//     units,             // Map: unit id (a number) -> {id, data, row}: `data` is null until it is unpacked, `row` is
//                        //   the row of the table, null for a unit that the page was not made with
//     ready,             // Promise of window.spikelab: what is embedded has been unpacked
//     shown,             // id of the unit in the panel; null while it is closed
//     panel,             // the <aside> element; null on a page without units
//     show(id, {focus}), // open the panel on a unit (Promise, resolved when it is drawn); focus: move the focus into it
//     hide(),            // close it; the focus goes back to the unit's row
//     step(by),          // show the unit `by` rows further in the order and filter of the table; stops at both ends
//     order(),           // ids of the rows that are shown, from top to bottom
//     evidence(id),      // Promise of the evidence of a unit: `data` of `units`, else what `source(id)` gives
//     source,            // function id -> Promise of evidence as in `data`; null on a page without a server. A server's
//                        //   script sets it, for units that did not exist when the page was made
//     put(data, row),    // add or replace a unit: its evidence (or null) and its row of the table
//     drop(id),          // take a unit away, its row too
//     redraw(),          // draw the panel again, after something that it shows has changed
//     sections,          // Array of {name, title, wide, draw(unit, data, element)}, drawn in this order; scripts push
//                        //   or splice their own. `draw` returns false where there is nothing to show
//     keys,              // Map: key ("j", "ArrowDown", "Shift+m", "Ctrl+z") -> {words, run(event)}: pressed anywhere but
//                        //   in a field that takes text. `words` are listed under "?"; null leaves a key out of the list
//     draw,              // {svg(width, height, label), line, bars, axes, scatter, element(name, attributes, ...children)}:
//                        //   how pictures are made: elements and text nodes, never markup
//     colour(id),        // a colour for a unit, the same all over the page
//   }
//
// Events on `document`, with detail {id}: "spikelab:shown" after the panel was drawn, "spikelab:hidden" after it was
// closed; "spikelab:changed" (no detail) is fired by put and drop, and by scripts that change what rows say.
// Attributes of units by name of other scripts are in `data.attributes` (label, decided, merged_from, split_from, ...).
//
// Rows of the table are <tr id="unit-12" data-unit="12">; `#unit-12` in the address opens the panel.
