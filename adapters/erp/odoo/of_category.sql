select p.id
  from product_category a
  join product_category c on c.parent_path like a.parent_path || '%'
  join product_template t on t.categ_id = c.id
  join product_product p on p.product_tmpl_id = t.id
 where a.id = any($1)
