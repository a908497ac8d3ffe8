//! Tests of the pages, through the public functions alone.

#[cfg(test)]
mod behaviour;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod html;
#[cfg(test)]
mod policy;
#[cfg(test)]
mod samples;
