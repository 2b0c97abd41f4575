"""The pure heart: a lane's windows given to their streams, plain records by one kernel call."""
