"""What each recorder finds of a known workload on each kernel."""
