"""What everything else stands on; imports the standard library only."""
