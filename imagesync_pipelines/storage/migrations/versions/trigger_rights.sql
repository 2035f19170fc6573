-- Whoever may write products, images or pins need have no right on what is kept about them: the triggers have it.
ALTER FUNCTION imagesync.show_images() SECURITY DEFINER SET search_path = imagesync, pg_temp;
ALTER FUNCTION imagesync.show_images_of_products() SECURITY DEFINER SET search_path = imagesync, pg_temp;
ALTER FUNCTION imagesync.show_pins() SECURITY DEFINER SET search_path = imagesync, pg_temp;
ALTER FUNCTION imagesync.note_image_removals() SECURITY DEFINER SET search_path = imagesync, pg_temp;
ALTER FUNCTION imagesync.note_other_hands() SECURITY DEFINER SET search_path = imagesync, pg_temp;
ALTER FUNCTION imagesync.count_listed() SECURITY DEFINER SET search_path = imagesync, pg_temp;
